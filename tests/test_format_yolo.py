"""Labels of YOLO: data.yaml, folders, rows."""

import pytest
from tool_labels import (
    HEIGHT,
    WIDTH,
    corners_of,
    fill,
    find,
    kinds,
    near,
    problems_of,
    read,
    rectangle,
    same,
    star,
    write_image,
)

from oneformer.annotation_formats.yolo import YoloSource


def row(number, ring, digits=6):
    values = [f'{x / WIDTH:.{digits}f} {y / HEIGHT:.{digits}f}' for x, y in ring]
    return f'{number} {" ".join(values)}'


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(''.join(f'{line}\n' for line in lines))


NAMES = 'names:\n  0: cat\n  1: dog\n'


@pytest.fixture
def coco8(tmp_path):
    """The layout of Ultralytics: images/train and labels/train, names as a dict."""
    root = tmp_path / 'coco8-seg'
    for split, names in dict(train=('a', 'b/c'), val=('d',)).items():
        for name in names:
            write_image(root / 'images' / split / f'{name}.jpg')
            ring = star(60, 44, 36)
            write(root / 'labels' / split / f'{name}.txt', row(1, ring), row(0, star(90, 60, 30)))
    entries = 'path: coco8-seg\ntrain: images/train\nval: images/val\ntest:\n'
    (tmp_path / 'data.yaml').write_text(entries + NAMES)
    return tmp_path


def test_polygons_come_back_with_class_split_and_name(coco8):
    source = YoloSource(coco8 / 'data.yaml')
    found = find(source)
    assert {name: image.split for name, image in found.items()} == {
        'images/train/a.jpg': 'train',
        'images/train/b/c.jpg': 'train',
        'images/val/d.jpg': 'val',
    }
    assert [category.name for category in source.categories] == ['cat', 'dog']
    for annotated in read(source).values():
        near(annotated, [('dog', fill(star(60, 44, 36))), ('cat', fill(star(90, 60, 30)))])
        assert annotated.losses == []


@pytest.mark.parametrize('names', ['[cat, dog]', '\n- cat\n- dog', '{1: dog, 0: cat}'])
def test_names_are_a_list_or_a_dict(coco8, names):
    text = (coco8 / 'data.yaml').read_text().replace(NAMES, f'nc: 2\nnames: {names}\n')
    (coco8 / 'data.yaml').write_text(text)
    source = YoloSource(coco8)  # the folder of data.yaml is as good
    find(source)
    assert [category.name for category in source.categories] == ['cat', 'dog']


@pytest.mark.parametrize(
    'entry',
    [
        'train: [images/train, images/val]',
        'train: train.txt',
        'train:\n- train.txt\n- images/val',
    ],
)
def test_train_is_a_folder_or_several_or_a_list_of_images(coco8, entry):
    root = coco8 / 'coco8-seg'
    lines = ['./images/train/a.jpg', 'images/train/b/c.jpg']
    write(root / 'train.txt', *lines, *([] if 'images/val' in entry else ['images/val/d.jpg']))
    (coco8 / 'data.yaml').write_text(f'path: coco8-seg\n{entry}\n{NAMES}')
    source = YoloSource(coco8 / 'data.yaml')
    assert {image.split for image in find(source).values()} == {'train'}
    assert all(len(annotated.regions) == 2 for annotated in read(source).values())
    assert len(find(source)) == 3


def test_paths_of_roboflow_and_of_another_machine_are_found(tmp_path):
    for split in ('train', 'valid'):
        write_image(tmp_path / split / 'images/1.jpg')
        write(tmp_path / split / 'labels/1.txt', row(0, star(60, 44, 36)))
    entries = 'train: ../train/images\nval: ../valid/images\npath: C:\\Users\\me\\set\n'
    (tmp_path / 'data.yaml').write_text(entries + NAMES)
    source = YoloSource(tmp_path)
    assert {n: i.split for n, i in find(source).items()} == {
        'train/images/1.jpg': 'train',
        'valid/images/1.jpg': 'val',
    }
    assert 'C:' in source.notes()[0]
    assert all(len(annotated.regions) == 1 for annotated in read(source).values())


def test_a_flat_folder_needs_names_of_classes(tmp_path):
    write_image(tmp_path / '1.png')
    write(tmp_path / '1.txt', row(1, star(60, 44, 36)))
    assert '--classes' in problems_of(YoloSource(tmp_path))
    for classes in (['cat', 'dog'], [str(tmp_path / 'names.list')]):
        write(tmp_path / 'names.list', 'cat', 'dog')
        source = YoloSource(tmp_path, classes=classes)
        near(read(source)['1.png'], [('dog', fill(star(60, 44, 36)))])
        assert find(source)['1.png'].split is None
    write(tmp_path / 'classes.txt', 'cat', 'dog')
    write(tmp_path / 'README.dataset.txt', 'about it')
    source = YoloSource(tmp_path)
    near(read(source)['1.png'], [('dog', fill(star(60, 44, 36)))])


def test_labels_beside_images_in_a_folder_images_are_read_and_told(tmp_path):
    write_image(tmp_path / 'images/1.png')
    write(tmp_path / 'images/1.txt', row(0, star(60, 44, 36)))
    source = YoloSource(tmp_path, classes=['cat'])
    assert len(read(source)['images/1.png'].regions) == 1
    assert 'beside' in source.notes()[0]
    write(tmp_path / 'labels/1.txt', row(0, star(60, 44, 36)))
    assert 'two label files' in problems_of(source)


def test_a_box_row_is_named_with_file_and_line_and_an_option_keeps_or_skips_it(tmp_path):
    write_image(tmp_path / '1.png')
    write(tmp_path / '1.txt', row(0, star(60, 44, 36)), '', '1 0.5 0.5 0.25 0.5')
    source = YoloSource(tmp_path, classes=['cat', 'dog'])
    with pytest.raises(ValueError, match=r'1\.txt: line 3 .*box.*--boxes keep.*--boxes skip'):
        read(source)
    kept = read(YoloSource(tmp_path, classes=['cat', 'dog'], boxes='keep'))['1.png']
    near(kept, [('cat', fill(star(60, 44, 36))), ('dog', rectangle(48, 24, 80, 72))])
    same(type(kept)(HEIGHT, WIDTH, kept.regions[1:]), [('dog', rectangle(48, 24, 80, 72))])
    skipped = read(YoloSource(tmp_path, classes=['cat', 'dog'], boxes='skip'))['1.png']
    assert [region.category for region in skipped.regions] == ['cat']
    assert kinds(skipped) == {'boxes': 1}
    assert '1.txt: line 3' in skipped.losses[0].message


def test_missing_label_files_are_counted_apart_from_empty_ones(tmp_path):
    for number in range(3):
        write_image(tmp_path / f'{number}.png')
    write(tmp_path / '0.txt', row(0, star(60, 44, 36)))
    write(tmp_path / '1.txt')
    source = YoloSource(tmp_path, classes=['cat'])
    found = read(source)
    assert [len(found[f'{n}.png'].regions) for n in range(3)] == [1, 0, 0]
    notes = source.notes()
    assert notes[0].startswith('1 images have no label file, such as 2.png')
    assert notes[1].startswith('1 images have an empty label file')
    source = YoloSource(tmp_path, classes=['cat'], without_labels='skip')
    assert sorted(find(source)) == ['0.png', '1.png']
    assert 'left out' in source.notes()[0]


def test_coordinates_of_pixels_are_suspected(tmp_path):
    write_image(tmp_path / '1.png')
    write(tmp_path / '1.txt', '0 10 10 20 10 20 20.5')
    source = YoloSource(tmp_path, classes=['cat'])
    with pytest.raises(ValueError, match=r'1\.txt: line 1 .*10.*pixels.*divide each x'):
        read(source)


@pytest.mark.parametrize(
    ('line', 'words'),
    [
        ('2 0.1 0.1 0.2 0.1 0.2 0.2', 'line 1 has class 2'),
        ('0.5 0.1 0.1 0.2 0.1 0.2 0.2', "class is '0.5'"),
        ('0 0.1 0.1 0.2 0.1 0.2', '5 numbers'),
        ('0 0.1 0.1', 'only 1 point'),
        ('0 0.1 x 0.2 0.1 0.2 0.2', "'x'"),
        ('0 0.1 nan 0.2 0.1 0.2 0.2', "'nan'"),
        ('0', '0 numbers'),
    ],
)
def test_broken_rows_are_named(tmp_path, line, words):
    write_image(tmp_path / '1.png')
    write(tmp_path / '1.txt', line)
    with pytest.raises(ValueError, match=r'1\.txt: line 1') as error:
        read(YoloSource(tmp_path, classes=['cat', 'dog']))
    assert words in str(error.value)


def test_polygons_are_cut_at_the_edge_and_counted(tmp_path):
    write_image(tmp_path / '1.png')
    write(tmp_path / '1.txt', '0 -0.05 0.25 0.5 0.25 0.5 1.05 -0.05 1.05', '0 0 0 1.000001 0 1 1')
    annotated = read(YoloSource(tmp_path, classes=['cat']))['1.png']
    assert kinds(annotated) == {'outlines cut at the edge': 1}
    assert 'line 1 leaves the image by 6.4' in annotated.losses[0].message
    same(type(annotated)(HEIGHT, WIDTH, annotated.regions[:1]), [('cat', rectangle(0, 24, 64, 96))])


def test_one_pixel_in_each_corner_survives(tmp_path):
    write_image(tmp_path / '1.png', 5, 7)
    boxes = [(0, 0, 1, 1), (6, 0, 7, 1), (0, 4, 1, 5), (6, 4, 7, 5)]
    rings = [corners_of(*box) for box in boxes]
    lines = ['0 ' + ' '.join(f'{x / 7:.6f} {y / 5:.6f}' for x, y in ring) for ring in rings]
    write(tmp_path / '1.txt', *lines)
    annotated = read(YoloSource(tmp_path, classes=['cat']))['1.png']
    same(annotated, [('cat', rectangle(*box, height=5, width=7)) for box in boxes])


def test_names_that_are_numbers_are_not_keys(tmp_path):
    for name in ('0001.jpg', '1.jpg', 'a/1.png'):
        write_image(tmp_path / name)
    for number, name in enumerate(('0001.txt', '1.txt', 'a/1.txt')):
        write(tmp_path / name, *[row(0, star(60, 44, 36))] * (number + 1))
    source = YoloSource(tmp_path, classes=['cat'])
    assert {name: len(a.regions) for name, a in read(source).items()} == {
        '0001.jpg': 1,
        '1.jpg': 2,
        'a/1.png': 3,
    }
    write_image(tmp_path / '1.gif')
    assert '1.txt may belong to 2 images' in problems_of(source)


def test_problems_of_structure_are_all_named_at_once(coco8):
    root = coco8 / 'coco8-seg'
    write(root / 'labels/train/ghost.txt', row(0, star(60, 44, 36)))
    write(root / 'list.txt', 'images/train/a.jpg', 'images/none.jpg')
    (coco8 / 'data.yaml').write_text(
        'path: coco8-seg\ntrain: images/train\nval: list.txt\ntest: images/test\n'
        'names: [cat, Cat]\n'
    )
    text = problems_of(YoloSource(coco8))
    for words in (
        'ghost.txt',
        "'cat' and 'Cat'",
        'images/none.jpg',
        "test is 'images/test'",
        'in train and in val',
    ):
        assert words in text


@pytest.mark.parametrize(
    ('yaml', 'words'),
    [
        ('names: [cat]\nnc: 2\n', 'nc is 2'),
        ('names: [cat, no]\n', 'in quotes'),
        ('names: [cat, ""]\n', "the name ''"),
        ('names: {a: cat}\n', 'keys of names are a'),
        ('train: x\n', 'names is None'),
        ('names: [cat\n', 'YAML'),
        ('- cat\n', 'list'),
        ('names: [cat]\nkpt_shape: [17, 3]\n', 'key points'),
    ],
)
def test_a_broken_data_yaml_is_named(tmp_path, yaml, words):
    write_image(tmp_path / 'x/1.png')
    (tmp_path / 'data.yaml').write_text(yaml)
    text = problems_of(YoloSource(tmp_path))
    assert words in text and 'data.yaml' in text


def test_labels_are_read_on_the_image_as_viewers_turn_it(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x112] = 6
    write_image(tmp_path / '1.jpg', 30, 60, exif=exif)
    write(tmp_path / '1.txt', '0 0 0 0.5 0 0.5 0.25 0 0.25')
    annotated = read(YoloSource(tmp_path, classes=['cat']))['1.jpg']
    assert (annotated.height, annotated.width) == (60, 30)
    same(annotated, [('cat', rectangle(0, 0, 15, 15, height=60, width=30))])
