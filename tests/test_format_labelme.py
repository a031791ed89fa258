"""JSON files of labelme, as versions 3 to 6 write them."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from tool_labels import (
    HEIGHT,
    WIDTH,
    corners_of,
    fill,
    find,
    kinds,
    near,
    objects,
    problems_of,
    read,
    rectangle,
    same,
    star,
    write_image,
)

from oneformer.annotation_formats.labelme import LabelmeSource


def shape(label, points, kind='polygon', **more):
    common = dict(group_id=None, description='', flags={}, mask=None)
    return dict(label=label, points=[list(p) for p in points], shape_type=kind, **common) | more


def write(path, shapes, image=None, version='6.3.1', **more):
    """A JSON of labelme beside an image of the same name, which is written too."""
    if image is None:
        image = write_image(path.with_suffix('.jpg')).name
    content = dict(
        version=version,
        flags={},
        shapes=shapes,
        imagePath=image,
        imageData=None,
        imageHeight=HEIGHT,
        imageWidth=WIDTH,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, **more}))


def encoded(mask):
    """A mask as labelme has it: a PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).convert('1').save(file, 'PNG')
    return base64.b64encode(file.getvalue()).decode()


def mask_shape(label, mask, **more):
    """A shape of type mask; its second point is its last pixel."""
    rows, columns = np.nonzero(mask)
    top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
    crop = mask[top : bottom + 1, left : right + 1]
    points = [(int(left), int(top)), (int(right), int(bottom))]
    return shape(label, points, 'mask', mask=encoded(crop), **more)


def test_polygons_of_a_tree_of_folders_come_back(tmp_path):
    write(tmp_path / 'a/1.json', [shape('cat', star(60, 44, 36)), shape('dog', star(90, 60, 30))])
    write(tmp_path / 'b/1.json', [shape('dog', star(60, 44, 36))])
    source = LabelmeSource(tmp_path)
    found = read(source)
    near(found['a/1.jpg'], [('cat', fill(star(60, 44, 36))), ('dog', fill(star(90, 60, 30)))])
    near(found['b/1.jpg'], [('dog', fill(star(60, 44, 36)))])
    assert [category.name for category in source.categories] == ['cat', 'dog']
    assert [region.order for region in found['a/1.jpg'].regions] == [1, 2]


@pytest.mark.parametrize(
    ('version', 'missing'),
    [
        ('3.16.7', ('group_id', 'description', 'mask', 'shape_type')),
        ('4.6.0', ('description', 'mask')),
        ('5.4.1', ()),
    ],
)
def test_older_versions_lack_some_keys(tmp_path, version, missing):
    old = {k: v for k, v in shape('cat', star(60, 44, 36)).items() if k not in missing}
    write(tmp_path / '1.json', [old], version=version, imageHeight=None, imageWidth=None)
    near(read(LabelmeSource(tmp_path))['1.jpg'], [('cat', fill(star(60, 44, 36)))])


def test_masks_come_back_pixel_for_pixel_with_all_holes_and_pieces(tmp_path):
    mask = rectangle(10, 10, 60, 50) & ~rectangle(15, 15, 20, 30) & ~rectangle(30, 20, 45, 40)
    mask |= rectangle(70, 60, 71, 61)
    corners = [(0, 0), (0, WIDTH - 1), (HEIGHT - 1, 0), (HEIGHT - 1, WIDTH - 1)]
    single = []
    for row, column in corners:
        one = np.zeros((HEIGHT, WIDTH), bool)
        one[row, column] = True
        single.append(one)
    write(tmp_path / '1.json', [mask_shape('cat', m) for m in (mask, *single)])
    same(read(LabelmeSource(tmp_path))['1.jpg'], [('cat', m) for m in (mask, *single)])


def test_shapes_of_one_group_and_label_are_one_object(tmp_path):
    boxes = [(2, 2, 20, 20), (40, 2, 60, 20), (2, 40, 20, 60), (40, 40, 60, 60)]
    shapes = [shape('cat', corners_of(*box), group_id=7) for box in boxes[:2]]
    shapes += [shape('dog', corners_of(*boxes[2]), group_id=7), shape('cat', corners_of(*boxes[3]))]
    shapes.insert(2, mask_shape('cat', rectangle(100, 60, 110, 70), group_id=7))
    write(tmp_path / '1.json', shapes)
    joined = rectangle(*boxes[0]) | rectangle(*boxes[1]) | rectangle(100, 60, 110, 70)
    expected = [('cat', joined), ('dog', rectangle(*boxes[2])), ('cat', rectangle(*boxes[3]))]
    annotated = read(LabelmeSource(tmp_path))['1.jpg']
    same(annotated, expected)
    assert annotated.regions[0].where == 'shapes 1, 2, 3'
    assert annotated.regions[0].extra == dict(group_id=7)


def test_rectangles_circles_and_oriented_rectangles_are_areas(tmp_path):
    turned = [(60, 8), (104, 36), (72, 76), (28, 48)]
    shapes = [
        shape('cat', [(30, 20), (10, 8)], 'rectangle'),
        shape('dog', [(90, 50), (90, 80)], 'circle'),
        shape('cat', turned, 'oriented_rectangle'),
    ]
    write(tmp_path / '1.json', shapes)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    disk = (x - 90) ** 2 + (y - 50) ** 2 < 30**2
    annotated = read(LabelmeSource(tmp_path))['1.jpg']
    near(annotated, [('cat', rectangle(10, 8, 30, 20)), ('dog', disk), ('cat', fill(turned))], 0.97)
    assert abs(objects(annotated)[1][1].sum() - np.pi * 30**2) < 15
    skipped = read(LabelmeSource(tmp_path, boxes='skip'))['1.jpg']
    assert len(skipped.regions) == 2 and kinds(skipped) == {'boxes': 1}


def test_lines_points_and_flags_are_losses_that_are_told(tmp_path):
    shapes = [
        shape('cat', [(1, 1)], 'point'),
        shape('cat', [(1, 1), (5, 5)], 'line'),
        shape('cat', [(1, 1), (5, 5), (9, 1)], 'linestrip'),
        shape('cat', star(60, 44, 36), flags=dict(occluded=True), description='tabby'),
    ]
    write(tmp_path / '1.json', shapes, flags=dict(blurred=True, night=False))
    annotated = read(LabelmeSource(tmp_path))['1.jpg']
    assert kinds(annotated) == {
        'shapes of type point': 1,
        'shapes of type line': 1,
        'shapes of type linestrip': 1,
        'flags of images': 1,
    }
    assert "'blurred'" in annotated.losses[-1].message and 'night' not in str(annotated.losses)
    assert annotated.regions[0].extra == dict(flags=dict(occluded=True), description='tabby')


@pytest.mark.parametrize('name', ['..\\images\\1.JPG', '../images/1.jpg', 'C:\\me\\images\\1.jpg'])
def test_image_paths_of_other_machines_and_folders_are_found(tmp_path, name):
    image = 'labels/1.jpg' if ':' in name else 'images/1.jpg'
    write_image(tmp_path / image)
    write(tmp_path / 'labels/1.json', [shape('cat', star(60, 44, 36))], image=name)
    for path in (tmp_path / 'labels', tmp_path / 'labels/1.json', tmp_path):
        source = LabelmeSource(path)
        (found,) = read(source).values()
        near(found, [('cat', fill(star(60, 44, 36)))])


def test_images_may_be_elsewhere(tmp_path):
    write_image(tmp_path / 'images/a/1.jpg')
    write(tmp_path / 'labels/a/1.json', [shape('cat', star(60, 44, 36))], image='1.jpg')
    source = LabelmeSource(tmp_path / 'labels', images=str(tmp_path / 'images'))
    assert list(read(source)) == ['a/1.jpg']
    assert "'1.jpg' does not exist" in problems_of(LabelmeSource(tmp_path / 'labels'))


def test_images_that_are_only_in_the_json_are_extracted_when_asked(tmp_path):
    image = write_image(tmp_path / 'x.png')
    data = base64.b64encode(image.read_bytes()).decode()
    write(tmp_path / 'set/1.json', [shape('cat', star(60, 44, 36))], image='1.png', imageData=data)
    assert '--extract FOLDER' in problems_of(LabelmeSource(tmp_path / 'set'))
    source = LabelmeSource(tmp_path / 'set', extract=str(tmp_path / 'out'))
    near(read(source)['1.png'], [('cat', fill(star(60, 44, 36)))])
    assert (tmp_path / 'out/1.png').read_bytes() == image.read_bytes()
    find(source)  # again
    (tmp_path / 'out/1.png').write_bytes(b'other')
    assert 'another image' in problems_of(source)


def test_images_without_a_json_are_left_out_or_kept_and_counted(tmp_path):
    write(tmp_path / '1.json', [shape('cat', star(60, 44, 36))])
    write_image(tmp_path / '2.jpg')
    (tmp_path / 'settings.json').write_text('{"a": 1}')
    source = LabelmeSource(tmp_path)
    assert list(find(source)) == ['1.jpg']
    notes = source.notes()
    assert 'settings.json' in notes[0] and notes[1].startswith('1 images have no JSON file')
    source = LabelmeSource(tmp_path, without_labels='keep')
    assert {name: len(a.regions) for name, a in read(source).items()} == {'1.jpg': 1, '2.jpg': 0}


def test_labels_of_images_with_exif_lie_where_their_size_says(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter turn clockwise
    box = shape('cat', corners_of(0, 0, 20, 10))
    for name, size in dict(upright=(60, 30), stored=(30, 60)).items():
        write_image(tmp_path / f'{name}.jpg', 30, 60, exif=exif)
        sizes = dict(imageHeight=size[0], imageWidth=size[1])
        write(tmp_path / f'{name}.json', [box], image=f'{name}.jpg', **sizes)
    found = read(LabelmeSource(tmp_path))
    same(found['upright.jpg'], [('cat', rectangle(0, 0, 20, 10, height=60, width=30))])
    same(found['stored.jpg'], [('cat', rectangle(20, 0, 30, 20, height=60, width=30))])
    assert kinds(found['upright.jpg']) == {}
    assert kinds(found['stored.jpg']) == {'labels turned upright': 1}


def test_names_of_images_are_not_keys(tmp_path):
    names = ('0001.jpg', '1.jpg', '1.gif', 'a/1.png')
    for count, name in enumerate(names):
        write_image(tmp_path / name)
        # labelme calls a JSON as its image, so that of the second 1.* needs a name of its own
        path = tmp_path / (name.replace('1.gif', 'gif') + '.json')
        shapes = [shape('cat', star(60, 44, 36))] * count
        write(path, shapes, image=name.rpartition('/')[2])
    found = read(LabelmeSource(tmp_path))
    assert {n: len(a.regions) for n, a in found.items()} == dict(zip(names, range(4)))


@pytest.mark.parametrize(
    ('broken', 'words'),
    [
        (shape('cat', [(1, 1), (5, 5)]), 'shape 1 has only 2 point'),
        (shape('cat', [(1, 1), (5, 'x'), (9, 9)]), "shape 1, point 1 is 'x'"),
        (shape('cat', [(1, 1), (5,), (9, 9)]), 'shape 1, point 1 is [5]'),
        (shape('cat', star(60, 44, 36), 'spline'), "shape_type 'spline'"),
        (shape('cat', [(1, 1)], 'circle'), 'a circle, has the points'),
        (shape('cat', [(1, 1), (5, 5)], 'mask'), 'no mask'),
        (shape('cat', [(1, 1), (5, 5)], 'mask', mask='%%%'), 'base64'),
        (shape('cat', [(1, 1), (5, 5)], 'mask', mask='aaaa'), 'PNG'),
        (
            shape('cat', [(1, 1), (5, 5)], 'mask', mask=encoded(np.ones((3, 3)))),
            'a mask of 3 x 3 pixels, and points of a box of 5 x 5',
        ),
    ],
)
def test_broken_shapes_are_named(tmp_path, broken, words):
    write(tmp_path / '1.json', [broken])
    with pytest.raises(ValueError, match=r'1\.json: shape 1') as error:
        read(LabelmeSource(tmp_path))
    assert words in str(error.value)


def test_a_json_for_another_image_is_named(tmp_path):
    write(tmp_path / '1.json', [shape('cat', star(60, 44, 36))], imageWidth=WIDTH + 1)
    with pytest.raises(ValueError, match=r'1\.json.*129 x 96 pixels, but .*1\.jpg has 128 x 96'):
        read(LabelmeSource(tmp_path))


def test_problems_of_structure_are_all_named_at_once(tmp_path):
    write(tmp_path / '1.json', [shape('cat', star(60, 44, 36))])
    write(tmp_path / '2.json', [shape('Cat', star(60, 44, 36)), shape(' ', star(60, 44, 36))])
    write(tmp_path / '3.json', [dict(points=[])])
    write(tmp_path / '4.json', [], image='1.jpg')
    write(tmp_path / '5.json', [], image='none.jpg')
    (tmp_path / '6.json').write_text('{"shapes": [')
    text = problems_of(LabelmeSource(tmp_path))
    for words in (
        "'Cat', 'cat'",
        'empty label',
        '3.json: shape 1: label is None',
        '2 JSON files are for image',
        "'none.jpg' does not exist",
        '6.json is not valid JSON',
    ):
        assert words in text, words
