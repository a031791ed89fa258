"""Masks of other tools: Pascal VOC, colours by a table, BDD100K's bitmasks."""

import numpy as np
import pytest
from format_scenes import (
    COLORS,
    HEIGHT,
    NAMES,
    WIDTH,
    class_map,
    objects_of,
    problems_of,
    read_all,
    scene,
    source_of,
    write_image,
    write_png,
)
from PIL import Image

from oneformer.annotation_formats.bdd100k import STUFF, THINGS
from oneformer.annotation_formats.label_maps import Runs
from oneformer.annotation_formats.table_files import read_class_table
from oneformer.annotation_formats.voc import VOC, voc_colors
from oneformer.run_length import decode_mask

PALETTE = [value for color in voc_colors(256) for value in color]
ANIMALS = ('background', 'cat', 'dog')


def numbers_of(names, classes=NAMES):
    return np.vectorize(lambda name: classes.index(name) if name in classes else 0)(names)


def colors_of(names):
    return np.array([[COLORS[name] for name in row] for row in names], np.uint8)


def test_runs_of_a_map_are_the_codes_of_its_masks():
    values = np.random.default_rng(0).integers(-1, 4, (17, 13)).repeat(3, 0)
    codes = Runs.of(values).codes()
    assert sorted(codes) == [0, 1, 2, 3]  # -1 is nothing
    for value, code in codes.items():
        np.testing.assert_array_equal(decode_mask(code), values == value)
    np.testing.assert_array_equal(Runs.of(values).numbers(Runs.of(values).values), values)


# Pascal VOC


def voc(folder, objects=True, border=True, colors=False, size=2):
    """Masks of a background, cats and dogs with a border of one pixel of void around them."""
    for seed in range(size):
        names, numbers = scene(seed)
        classes = numbers_of(names, ANIMALS)
        if border:
            edge = np.zeros((HEIGHT, WIDTH), bool)
            for axis in (0, 1):
                edge |= np.diff(numbers, axis=axis, append=0) != 0
            classes[edge], numbers[edge] = 255, 255
        write_image(folder / f'JPEGImages/{seed}.jpg', seed)
        for kind, values in (('Class', classes), ('Object', numbers)):
            path = folder / f'Segmentation{kind}/{seed}.png'
            if kind == 'Object' and not objects:
                continue
            if colors:  # as CVAT writes them
                write_png(path, np.array(PALETTE, np.uint8).reshape(256, 3)[values])
            else:
                write_png(path, values, palette=PALETTE)
    return folder


def write_lists(folder, **lists):
    (folder / 'ImageSets/Segmentation').mkdir(parents=True)
    for name, lines in lists.items():
        (folder / f'ImageSets/Segmentation/{name}.txt').write_text(''.join(f'{n}\n' for n in lines))


def labelmap(folder, names=ANIMALS):
    lines = [f'{n}:{",".join(map(str, c))}::' for n, c in zip(names, voc_colors(len(names)))]
    text = '\n'.join(['# label:color_rgb:parts:actions', *lines])
    (folder / 'labelmap.txt').write_text(text)


def check_voc(annotated, seed=0):
    names, numbers = scene(seed)
    edge = np.zeros((HEIGHT, WIDTH), bool)
    for axis in (0, 1):
        edge |= np.diff(numbers, axis=axis, append=0) != 0
    expected = np.where(numbers > 0, names, 'background')
    np.testing.assert_array_equal(class_map(annotated), np.where(edge, '', expected))
    objects = [(name, mask) for name, crowd, mask in objects_of(annotated) if not crowd]
    assert [name for name, _ in objects] == ['cat', 'dog', 'cat']
    for number, (_, mask) in enumerate(objects, 1):
        np.testing.assert_array_equal(mask, (numbers == number) & ~edge)


@pytest.mark.parametrize('colors', [False, True])
def test_voc_masks_keep_every_pixel_and_the_border_is_void(tmp_path, colors):
    voc(tmp_path / 'VOC2012', colors=colors)
    labelmap(tmp_path / 'VOC2012')
    write_lists(tmp_path / 'VOC2012', train=['0'], val=['1'], trainval=['0', '1'], test=['9'])
    source = source_of('voc', tmp_path)
    for seed, annotated in enumerate(read_all(source).values()):
        check_voc(annotated, seed)
    assert [image.split for image in source.find()[0]] == ['train', 'val']
    found = {c.name: (c.is_thing, c.color) for c in source.categories}
    assert found == dict(background=(False, (0, 0, 0)), cat=(None, (128, 0, 0)),
                         dog=(None, (0, 128, 0)))  # fmt: skip


def test_classes_of_voc_itself_and_of_labelme_need_no_colours(tmp_path):
    voc(tmp_path)
    (tmp_path / 'names.txt').write_text('\n'.join(ANIMALS))
    check_voc(read_all(source_of('voc', tmp_path, classes=str(tmp_path / 'names.txt')))['0.jpg'])
    found = class_map(read_all(source_of('voc', tmp_path, classes='voc'))['0.jpg'])
    assert set(found.ravel()) == {'', 'background', 'aeroplane', 'bicycle'}
    names = ['__ignore__', '_background_', 'cat', 'dog']
    (tmp_path / 'class_names.txt').write_text('\n'.join(names))
    found = class_map(read_all(source_of('voc', tmp_path))['0.jpg'])
    assert set(found.ravel()) == {'', '_background_', 'cat', 'dog'}
    assert len(VOC) == 21 and voc_colors(21)[20] == (0, 64, 128)


def test_classes_alone_are_areas_whose_things_are_crowds(tmp_path):
    labelmap(voc(tmp_path, objects=False))
    source = source_of('voc', tmp_path)
    found = objects_of(read_all(source)['0.jpg'])
    assert [(name, crowd) for name, crowd, _ in found] == [
        ('background', True), ('cat', True), ('dog', True)]  # fmt: skip
    assert 'objects are not told apart' in ' '.join(source.notes())


def test_pixels_of_a_class_in_no_object_are_a_crowd_and_told(tmp_path):
    labelmap(voc(tmp_path, border=False))
    path = tmp_path / 'SegmentationObject/0.png'
    values = np.array(Image.open(path))
    values[2:6, 50:55] = 0  # the third object
    write_png(path, values, palette=PALETTE)
    annotated = read_all(source_of('voc', tmp_path))['0.jpg']
    crowds = [(n, int(m.sum())) for n, crowd, m in objects_of(annotated) if crowd]
    assert ('cat', 20) in crowds
    (loss,) = annotated.losses
    assert "20 pixels of 'cat' are in no object" in loss.message


def test_objects_of_two_classes_are_named(tmp_path):
    labelmap(voc(tmp_path, border=False))
    path = tmp_path / 'SegmentationClass/0.png'
    values = np.array(Image.open(path))
    values[20:22, 30:32] = 1
    write_png(path, values, palette=PALETTE)
    source = source_of('voc', tmp_path)
    images, _ = source.find()
    with pytest.raises(ValueError, match="object 2 has pixels of several classes, 4 of 'cat' and "):
        source.read(images[0])


def no_table(folder):
    (folder / 'labelmap.txt').unlink()


def no_image(folder):
    (folder / 'JPEGImages/1.jpg').unlink()


def no_object(folder):
    (folder / 'SegmentationObject/1.png').unlink()


def listed_twice(folder):
    write_lists(folder, train=['0', '1'], val=['1'])


def listed_without_mask(folder):
    write_lists(folder, train=['0', '1', '5'])


def two_images(folder):
    write_image(folder / 'JPEGImages/1.png')


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (no_table, ('has no labelmap.txt', '--classes voc')),
        (no_image, ('1 masks', 'have no image', '1.png')),
        (no_object, ('1 of 2 masks of classes have no mask of objects', '1.png')),
        (listed_twice, ('val.txt: 1 names are in train.txt, too: 1',)),
        (listed_without_mask, ('1 listed names have no mask', ': 5')),
        (two_images, ('may belong to 2 images', '1.jpg, 1.png')),
    ],
)
def test_what_is_wrong_with_a_voc_folder_is_named(tmp_path, change, words):
    labelmap(voc(tmp_path))
    change(tmp_path)
    text = problems_of(source_of('voc', tmp_path))
    assert all(word in text for word in words), text


def test_a_number_that_is_not_a_class_is_named(tmp_path):
    voc(tmp_path)
    (tmp_path / 'names.txt').write_text('background\ncat')
    source = source_of('voc', tmp_path, classes=str(tmp_path / 'names.txt'))
    images, _ = source.find()
    with pytest.raises(ValueError, match=r'0.png has the numbers 2 in \d+ pixels, which .*names'):
        source.read(images[0])


# colours


def color_set(folder, table='label_colors.txt', text=None):
    for split, seed in (('train', 0), ('val', 1)):
        write_image(folder / f'{split}/{seed}.jpg', seed)
        write_png(folder / f'{split}annot/{seed}.png', colors_of(scene(seed)[0]))
    if text is None:
        text = '\n'.join(f'{r} {g} {b}\t\t{name}' for name, (r, g, b) in COLORS.items())
    (folder / table).write_text(text)
    return folder


def test_colours_become_classes_pixel_for_pixel(tmp_path):
    source = source_of('color_masks', color_set(tmp_path))
    for seed, (name, annotated) in enumerate(read_all(source).items()):
        np.testing.assert_array_equal(class_map(annotated), scene(seed)[0])
        assert name == f'{("train", "val")[seed]}/{seed}.jpg'
    assert [image.split for image in source.find()[0]] == ['train', 'val']
    assert {c.name: c.color for c in source.categories} == COLORS


RGB = {name: ' '.join(map(str, color)) for name, color in COLORS.items()}
HEX = {name: '#' + bytes(color).hex() for name, color in COLORS.items()}


@pytest.mark.parametrize(
    ('name', 'lines'),
    [
        ('a.txt', [f'{RGB[n]} {n}' for n in NAMES]),
        ('a.txt', [f'{n}: ({", ".join(map(str, COLORS[n]))})' for n in NAMES]),
        ('a.txt', [f'{k} {n} {RGB[n]}' for k, n in enumerate(NAMES)]),
        ('a.txt', [f'{HEX[n]} {n}' for n in NAMES]),
        ('a.txt', ['# label:color_rgb:parts:actions',
                   *(f'{n}:{RGB[n].replace(" ", ",")}::' for n in NAMES)]),
        ('a.csv', ['name,r,g,b', *(f'{n},{RGB[n].replace(" ", ",")}' for n in NAMES)]),
        ('a.csv', ['id;class;color', *(f'{k};{n};{HEX[n]}' for k, n in enumerate(NAMES))]),
        ('a.csv', [f'{RGB[n].replace(" ", ",")},{n}' for n in NAMES]),
        ('a.json', ['{', ','.join(f'"{n}": {list(COLORS[n])}' for n in NAMES), '}']),
        ('a.json', ['{', ','.join(f'"{HEX[n]}": "{n}"' for n in NAMES), '}']),
        ('a.json', ['{', ','.join(f'"{n}": "{HEX[n]}"' for n in NAMES), '}']),
        ('a.json', ['[', ','.join(f'{{"label": "{n}", "color": {list(COLORS[n])}}}'
                                  for n in NAMES), ']']),
        ('a.json', ['{"classes": [', ','.join(f'{{"title": "{n}", "color": "{HEX[n]}"}}'
                                              for n in NAMES), ']}']),
    ],
)  # fmt: skip
def test_a_table_of_colours_is_read_in_the_usual_layouts(tmp_path, name, lines):
    (tmp_path / name).write_text('\n'.join(lines))
    table = read_class_table(tmp_path / name)
    assert table.by_color == {color: name for name, color in COLORS.items()}
    assert table.names == list(NAMES)


@pytest.mark.parametrize(
    ('name', 'text', 'words'),
    [
        ('a.txt', '1 2 3 cat\n4 5 6 dog\n7 8 cow', "line 3: '7 8 cow' is not written as most"),
        ('a.txt', '1 2 3 cat\n1 2 3 dog', "is both 'cat' and 'dog'"),
        ('a.txt', '1 2 300 cat', r'the colour \(1, 2, 300\) is not three whole numbers'),
        ('a.txt', '1 2 3 cat\n4 5 6 Cat', 'one class is written in 2 ways'),
        ('a.csv', 'name,r,g,b\ncat,1,2', 'line 2: .* has fewer columns'),
        ('a.json', '{"cat": [1, 2]}', "'cat': the colour"),
        ('a.json', '[{"color": [1, 2, 3]}]', 'entry 0 has no name'),
        ('a.json', '{', 'not valid JSON, or a damaged one'),
        ('a.txt', '', 'has no class'),
    ],
)
def test_a_broken_table_is_named(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        read_class_table(tmp_path / name).by_color  # noqa: B018
    assert name in str(error.value)


def test_names_such_as_void_and_those_that_are_chosen_are_not_annotated(tmp_path):
    text = '\n'.join(f'{RGB[n]} {"Void" if n == "sky" else n}' for n in NAMES)
    source = source_of('color_masks', color_set(tmp_path, text=text), void=['grass'])
    found = class_map(read_all(source)['train/0.jpg'])
    names, _ = scene()
    np.testing.assert_array_equal(found, np.where(np.isin(names, ['sky', 'grass']), '', names))
    assert "pixels of 'Void', 'grass' count as not annotated" in ' '.join(source.notes())


def test_unknown_colours_are_named_with_the_nearest(tmp_path):
    color_set(tmp_path)
    path = tmp_path / 'trainannot/0.png'
    pixels = np.array(Image.open(path))
    pixels[0, :7] = (71, 131, 180)
    write_png(path, pixels)
    source = source_of('color_masks', tmp_path)
    images, _ = source.find()
    with pytest.raises(ValueError, match='0.png') as error:
        source.read(images[0])
    text = str(error.value)
    assert "(71, 131, 180) in 7 pixels (nearest: 'sky' (70, 130, 180))" in text
    assert 'label_colors.txt does not list' in text and 'smooth edges' not in text


def smooth(path):
    image = Image.open(path).resize((2 * WIDTH, 2 * HEIGHT), Image.BILINEAR)
    image.resize((WIDTH, HEIGHT), Image.BILINEAR).save(path)


def as_jpeg(path):
    data = path.read_bytes()
    Image.open(path).save(path, 'JPEG')
    assert path.read_bytes() != data


def transparent(path):
    image = Image.open(path).convert('RGBA')
    image.putpixel((3, 3), (0, 0, 0, 0))
    image.save(path)


def other_size(path):
    Image.open(path).resize((WIDTH - 1, HEIGHT), Image.NEAREST).save(path)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (smooth, 'mixtures at smooth edges'),
        (as_jpeg, 'is a JPEG by its content'),
        (transparent, 'has transparent pixels'),
        (other_size, 'it is for an image of 59 x 40 pixels, but'),
    ],
)
def test_a_mask_in_colour_that_cannot_be_read_is_explained(tmp_path, change, words):
    color_set(tmp_path)
    change(tmp_path / 'trainannot/0.png')
    source = source_of('color_masks', tmp_path)
    images, _ = source.find()
    with pytest.raises(ValueError, match=words) as error:
        source.read(images[0])
    assert 'trainannot/0.png' in str(error.value)


def test_endings_of_masks_are_found_out_and_images_without_mask_are_told(tmp_path):
    for seed in (0, 1):
        write_image(tmp_path / f'images/a{seed}.jpg', seed)
        write_png(tmp_path / f'masks/a{seed}_L.png', colors_of(scene(seed)[0]))
    write_image(tmp_path / 'images/b.jpg')
    table = tmp_path / 'all.txt'
    table.write_text('\n'.join(f'{RGB[n]} {n}' for n in NAMES))
    source = source_of('color_masks', tmp_path, colors=table)
    found = read_all(source)
    assert list(found) == ['a0.jpg', 'a1.jpg']
    np.testing.assert_array_equal(class_map(found['a1.jpg']), scene(1)[0])
    assert '1 of 3 images in' in ' '.join(source.notes())
    write_png(tmp_path / 'masks/c_L.png', colors_of(scene()[0]))
    assert '1 of 3 masks in' in problems_of(source)


def test_folders_with_other_names_are_asked_for(tmp_path):
    write_image(tmp_path / 'x/0.jpg')
    write_png(tmp_path / 'y/0.png', colors_of(scene()[0]))
    (tmp_path / 'colors.txt').write_text('\n'.join(f'{RGB[n]} {n}' for n in NAMES))
    text = problems_of(source_of('color_masks', tmp_path))
    assert '(its folders: x, y): say --images FOLDER --masks FOLDER' in text
    source = source_of('color_masks', tmp_path, images=tmp_path / 'x', masks=tmp_path / 'y')
    np.testing.assert_array_equal(class_map(read_all(source)['0.jpg']), scene()[0])


def test_masks_on_stored_pixels_are_turned_as_the_image_is(tmp_path):
    color_set(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(tmp_path / 'train/0.jpg', exif=exif)
    annotated = read_all(source_of('color_masks', tmp_path))['train/0.jpg']
    np.testing.assert_array_equal(class_map(annotated), np.rot90(scene()[0], -1))
    assert [loss.kind for loss in annotated.losses] == ['labels turned upright']


# BDD100K

BDD = dict(sky=30, grass=28, cat=31, dog=35)  # sky, terrain, person, car
BDD_NAMES = dict(sky='sky', grass='terrain', cat='person', dog='car')


def bitmask(seed=0, attributes=(0, 0, 0, 0)):
    """R class, G attributes of grass and three objects, B and A the number of the object."""
    names, objects = scene(seed)
    classes = np.vectorize(BDD.get)(names)
    numbers = np.where(objects > 0, 300 + objects, classes)
    return np.stack([classes, np.array(attributes)[objects], numbers >> 8, numbers & 255], -1)


def bdd(folder, **options):
    for split, seed in (('train', 0), ('val', 1)):
        write_image(folder / f'images/10k/{split}/{seed}.jpg', seed)
        path = folder / f'labels/pan_seg/bitmasks/{split}/{seed}.png'
        write_png(path, bitmask(seed, **options))
    return folder


def test_bitmasks_keep_class_object_and_every_pixel(tmp_path):
    source = source_of('bdd100k', bdd(tmp_path, attributes=(0, 12, 0, 2)))
    found = read_all(source)
    assert [image.split for image in source.find()[0]] == ['train', 'val']
    assert [c.name for c in source.categories] == [*STUFF, *THINGS]
    assert len(STUFF) == 30 and THINGS[0] == 'person' and THINGS[-1] == 'truck'
    for seed, annotated in enumerate(found.values()):
        names, objects = scene(seed)
        expected = np.vectorize(BDD_NAMES.get)(names)
        np.testing.assert_array_equal(class_map(annotated), expected)
        things = [o for o in objects_of(annotated) if o[0] in THINGS]
        assert [(n, crowd) for n, crowd, _ in things] == [
            ('person', False), ('person', True), ('car', False)]  # fmt: skip
        for (_, _, mask), number in zip(things, (1, 3, 2)):
            np.testing.assert_array_equal(mask, objects == number)


def test_objects_to_be_ignored_are_marked(tmp_path):
    annotated = read_all(source_of('bdd100k', bdd(tmp_path, attributes=(0, 0, 1, 0))))[
        'train/0.jpg'
    ]
    assert [r.where for r in annotated.regions if r.ignored] == ['object 302 (car)']


def test_bitmasks_of_other_classes_and_of_instances(tmp_path):
    bdd(tmp_path)
    source = source_of('bdd100k', tmp_path, classes='instances')
    images, _ = source.find()
    with pytest.raises(
        ValueError, match=r'has the classes \[28, 30, 31, 35\] in R, and there are 8'
    ):
        source.read(images[0])
    names = tmp_path / 'names.txt'
    names.write_text('\n'.join(f'c{k}' for k in range(1, 36)))
    found = class_map(read_all(source_of('bdd100k', tmp_path, classes=str(names)))['train/0.jpg'])
    assert set(found.ravel()) == {'c28', 'c30', 'c31', 'c35'}


def test_wrong_bitmasks_are_named(tmp_path):
    bdd(tmp_path)
    source = source_of('bdd100k', tmp_path)
    images, _ = source.find()
    path = tmp_path / 'labels/pan_seg/bitmasks/train/0.png'
    values = bitmask()
    values[20, 30, 0] = 33  # a pixel of the car
    write_png(path, values)
    with pytest.raises(ValueError, match='object 302 has pixels of several classes, bicycle, car'):
        source.read(images[0])
    write_png(path, values[..., :3])
    with pytest.raises(ValueError, match='is PNG in RGB, not a PNG in RGBA'):
        source.read(images[0])
    write_png(path, values)
    path.write_bytes(path.read_bytes()[:99])
    with pytest.raises(ValueError, match='0.png is damaged'):
        source.read(images[0])
    text = problems_of(source_of('bdd100k', tmp_path / 'images'))
    assert 'has no folder bitmasks: say which by --masks' in text
