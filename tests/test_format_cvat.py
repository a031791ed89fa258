"""The XML of CVAT: "CVAT for images 1.1"."""

import json

import numpy as np
import pytest
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

from oneformer.annotation_formats.coco import CocoSource
from oneformer.annotation_formats.cvat import CvatSource

LABELS = """
        <label><name>car</name><color>#fa3253</color><type>any</type><attributes></attributes></label>
        <label><name>road</name><color>#33ddff</color><type>mask</type><attributes></attributes></label>
"""
POLYGON = '<polygon label="{}" source="manual" occluded="0" points="{}" z_order="{}"{}></polygon>'


def write(path, images, labels=LABELS, where='task', more=''):
    """An annotations.xml; images are (name, shapes) or (name, shapes, more attributes)."""
    parts = []
    for number, (name, shapes, *attributes) in enumerate(images):
        size = f'width="{WIDTH}" height="{HEIGHT}"'
        shapes = '\n'.join(shapes)
        more_words = ' '.join(attributes)
        parts.append(f'<image id="{number}" name="{name}" {more_words} {size}>{shapes}</image>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <{where}>
      <id>4</id><name>segmentation</name><size>27</size><mode>annotation</mode>
      <labels>{labels}</labels>
    </{where}>
    <dumped>2024-09-25 11:38:28.799808+00:00</dumped>
  </meta>
  {''.join(parts)}{more}
</annotations>"""
    )


def polygon(label, ring, z_order=0, more=''):
    points = ';'.join(f'{x:.2f},{y:.2f}' for x, y in ring)
    return POLYGON.format(label, points, z_order, more)


def mask(label, pixels, z_order=0, more=''):
    """Runs within the box of the mask, row by row, of which the first is outside."""
    rows, columns = np.nonzero(pixels)
    top, left = rows.min(), columns.min()
    crop = pixels[top : rows.max() + 1, left : columns.max() + 1]
    runs, value, length = [], False, 0
    for pixel in crop.ravel().tolist():
        if pixel != value:
            runs.append(length)
            value, length = pixel, 0
        length += 1
    runs.append(length)
    text = ', '.join(map(str, runs))
    height, width = crop.shape
    box = f'left="{left}" top="{top}" width="{width}" height="{height}"'
    return (
        f'<mask label="{label}" source="semi-auto" occluded="0" rle="{text}" {box} '
        f'z_order="{z_order}"{more}></mask>'
    )


@pytest.fixture
def export(tmp_path):
    """Two images, one in a sub-folder, with polygons."""
    write_image(tmp_path / 'images/1.jpg')
    write_image(tmp_path / 'images/cam0/2.jpg')
    one = [polygon('car', star(60, 44, 36), 1), polygon('road', star(90, 60, 30), 0)]
    write(tmp_path / 'annotations.xml', [('1.jpg', one), ('cam0/2.jpg', [])])
    return tmp_path


def test_polygons_come_back_with_order_labels_and_colours(export):
    for path in (export, export / 'annotations.xml'):
        source = CvatSource(path)
        found = read(source)
        expected = [('car', fill(star(60, 44, 36))), ('road', fill(star(90, 60, 30)))]
        near(found['1.jpg'], expected)
        assert [region.order for region in found['1.jpg'].regions] == [1, 0]
        assert found['cam0/2.jpg'].regions == []
        assert [(c.name, c.color) for c in source.categories] == [
            ('car', (250, 50, 83)),
            ('road', (51, 221, 255)),
        ]
        assert 'cam0/2.jpg' in source.notes()[0]


def test_the_example_of_the_report_is_read_row_by_row(tmp_path):
    """An L at left 1, top 1 of an image of 5 x 4 pixels."""
    write_image(tmp_path / '1.png', 4, 5)
    shape = (
        '<mask label="car" rle="0, 1, 2, 1, 2, 3" left="1" top="1" width="3" height="3" '
        'z_order="0"></mask>'
    )
    write(tmp_path / 'annotations.xml', [('1.png', [shape])])
    text = (tmp_path / 'annotations.xml').read_text()
    text = text.replace(f'width="{WIDTH}" height="{HEIGHT}"', 'width="5" height="4"')
    (tmp_path / 'annotations.xml').write_text(text)
    ((_, found),) = objects(read(CvatSource(tmp_path))['1.png'])
    assert found.astype(int).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 1, 1, 1, 0],
    ]


def test_masks_come_back_pixel_for_pixel(tmp_path):
    write_image(tmp_path / '1.png')
    rng = np.random.default_rng(0)
    noise = np.zeros((HEIGHT, WIDTH), bool)
    noise[10:40, 20:70] = rng.random((30, 50)) < 0.5
    masks = [noise, rectangle(5, 5, 60, 60) & ~rectangle(10, 10, 20, 20)]
    for row, column in ((0, 0), (0, WIDTH - 1), (HEIGHT - 1, 0), (HEIGHT - 1, WIDTH - 1)):
        masks.append(np.zeros((HEIGHT, WIDTH), bool))
        masks[-1][row, column] = True
    write(tmp_path / 'a.xml', [('1.png', [mask('car', m) for m in masks])])
    same(read(CvatSource(tmp_path))['1.png'], [('car', m) for m in masks])


def test_groups_are_pieces_of_one_object_unless_told_apart(tmp_path):
    write_image(tmp_path / '1.png')
    boxes = [(2, 2, 20, 20), (40, 2, 60, 20), (2, 40, 20, 60)]
    group = ' group_id="3"'
    shapes = [
        polygon('car', corners_of(*boxes[0]), 0, group),
        mask('car', rectangle(*boxes[1]), 5, group),
        polygon('road', corners_of(*boxes[2]), 0, group),
        polygon('car', corners_of(80, 50, 90, 60)),
    ]
    write(tmp_path / 'a.xml', [('1.png', shapes)])
    last = [('road', rectangle(*boxes[2])), ('car', rectangle(80, 50, 90, 60))]
    joined = read(CvatSource(tmp_path))['1.png']
    same(joined, [('car', rectangle(*boxes[0]) | rectangle(*boxes[1])), *last])
    assert joined.regions[0].order == 5
    apart = read(CvatSource(tmp_path, groups='apart'))['1.png']
    same(apart, [('car', rectangle(*boxes[0])), ('car', rectangle(*boxes[1])), *last])


def test_boxes_need_an_option_and_may_be_turned(tmp_path):
    write_image(tmp_path / '1.png')
    box = '<box label="car" xtl="20" ytl="10" xbr="60" ybr="30" z_order="0"{}></box>'
    write(tmp_path / 'a.xml', [('1.png', [box.format(''), box.format(' rotation="90.0"')])])
    with pytest.raises(
        ValueError, match=r"a\.xml: image '1\.png': shape 1 is a box .*--boxes keep"
    ):
        read(CvatSource(tmp_path))
    kept = read(CvatSource(tmp_path, boxes='keep'))['1.png']
    same(kept, [('car', rectangle(20, 10, 60, 30)), ('car', rectangle(30, 0, 50, 40))])
    assert kinds(read(CvatSource(tmp_path, boxes='skip'))['1.png']) == {'boxes': 2}


def test_ellipses_are_areas_and_lines_points_and_tags_are_losses(tmp_path):
    write_image(tmp_path / '1.png')
    shapes = [
        '<ellipse label="car" cx="60" cy="40" rx="30" ry="20" z_order="0" rotation="90"></ellipse>',
        '<polyline label="road" points="1,1;5,5" z_order="0"></polyline>',
        '<points label="road" points="1,1" z_order="0"></points>',
        '<tag label="road" source="manual"></tag>',
    ]
    write(tmp_path / 'a.xml', [('1.png', shapes)])
    annotated = read(CvatSource(tmp_path))['1.png']
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    near(annotated, [('car', ((x - 60) / 20) ** 2 + ((y - 40) / 30) ** 2 < 1)], 0.97)
    assert sorted(kinds(annotated)) == [
        f'shapes of type {n}' for n in ('points', 'polyline', 'tag')
    ]


def test_attributes_go_on(tmp_path):
    write_image(tmp_path / '1.png')
    shape = polygon('car', star(60, 44, 36)).replace(
        '></polygon>', '><attribute name="colour">red</attribute></polygon>'
    )
    shape = shape.replace('occluded="0"', 'occluded="1"')
    write(tmp_path / 'a.xml', [('1.png', [shape])])
    (region,) = read(CvatSource(tmp_path))['1.png'].regions
    assert region.extra == dict(attributes=dict(colour='red', occluded=True))


@pytest.mark.parametrize('where', ['job', 'project'])
def test_jobs_and_projects_have_their_labels_elsewhere(tmp_path, where):
    write_image(tmp_path / 'images/Train/1.jpg')
    write_image(tmp_path / 'images/Validation/1.jpg')
    images = [
        ('1.jpg', [polygon('car', star(60, 44, 36))], 'subset="Train" task_id="1"'),
        ('1.jpg', [], 'subset="Validation" task_id="2"'),
    ]
    skeleton = '<label><name>eye</name><parent>face</parent></label>'
    write(tmp_path / 'annotations.xml', images, LABELS + skeleton, where)
    source = CvatSource(tmp_path)
    assert {name: image.split for name, image in find(source).items()} == {
        'Train/1.jpg': 'train',
        'Validation/1.jpg': 'validation',
    }
    assert [category.name for category in source.categories] == ['car', 'road']
    assert [len(a.regions) for a in read(source).values()] == [1, 0]


def test_images_may_be_elsewhere_and_names_have_windows_separators(tmp_path):
    write_image(tmp_path / 'elsewhere/cam/1.jpg')
    write(tmp_path / 'a.xml', [('cam\\1.JPG', [polygon('car', star(60, 44, 36))])])
    text = problems_of(CvatSource(tmp_path / 'a.xml'))
    assert "image 'cam\\\\1.JPG' does not exist" in text
    source = CvatSource(tmp_path / 'a.xml', images=str(tmp_path / 'elsewhere'))
    assert list(read(source)) == ['cam/1.jpg']


def test_frames_of_videos_have_no_suffix_in_the_xml(tmp_path):
    write_image(tmp_path / 'images/frame_000000.PNG')
    write(tmp_path / 'a.xml', [('frame_000000', [polygon('car', star(60, 44, 36))])])
    assert list(read(CvatSource(tmp_path))) == ['frame_000000.PNG']
    write_image(tmp_path / 'images/frame_000000.jpg')
    assert "'frame_000000' does not exist" in problems_of(CvatSource(tmp_path))


def test_tracks_of_videos_are_refused(tmp_path):
    track = (
        '<track id="0" label="car"><box frame="0" xtl="1" ytl="1" xbr="5" ybr="5"></box></track>'
    )
    write(tmp_path / 'a.xml', [], more=track)
    assert 'export the task as "CVAT for images 1.1"' in problems_of(CvatSource(tmp_path))


def test_names_of_images_are_not_keys(tmp_path):
    names = ('0001.jpg', '1.jpg', '1.gif', 'a/1.png')
    for name in names:
        write_image(tmp_path / 'images' / name)
    images = [(n, [polygon('car', star(60, 44, 36))] * k) for k, n in enumerate(names, 1)]
    write(tmp_path / 'annotations.xml', images)
    found = read(CvatSource(tmp_path))
    assert {name: len(a.regions) for name, a in found.items()} == dict(zip(names, range(1, 5)))


@pytest.mark.parametrize(
    ('shape', 'words'),
    [
        (polygon('bike', star(60, 44, 36)), "label 'bike', which the XML does not list"),
        (polygon('car', [(1, 1), (2, 2)]), 'shape 1 (polygon) has only 2 point'),
        ('<polygon label="car" points="1,1;2;3,3"></polygon>', "point 1 is '2'"),
        ('<polygon label="car" points="1,1;2,nan;3,3"></polygon>', "point 1 is 'nan'"),
        ('<polygon label="car"></polygon>', "point 0 is ''"),
        (mask('car', rectangle(5, 5, 9, 9)).replace('rle="0, 16"', 'rle="0, 15"'), '15 pixels'),
        (mask('car', rectangle(5, 5, 9, 9)).replace('rle="0, 16"', 'rle="0, x"'), "a run is ' x'"),
        (mask('car', rectangle(5, 5, 9, 9)).replace('top="5"', ''), 'top is None'),
        ('<blob label="car"></blob>', 'not a shape of CVAT'),
        ('<box label="car" xtl="1" ytl="1" xbr="5"></box>', 'ybr is None'),
    ],
)
def test_broken_shapes_are_named(tmp_path, shape, words):
    write_image(tmp_path / '1.png')
    write(tmp_path / 'a.xml', [('1.png', [shape])])
    with pytest.raises(ValueError, match=r"a\.xml: image '1\.png'.*shape 1") as error:
        read(CvatSource(tmp_path))
    assert words in str(error.value)


def test_problems_of_structure_are_all_named_at_once(export):
    labels = LABELS + '<label><name>Car</name></label>'
    images = [('1.jpg', []), ('1.jpg', []), ('none.jpg', []), ('none2.jpg', [])]
    write(export / 'annotations.xml', images, labels)
    text = problems_of(CvatSource(export))
    for words in ("'car' and 'Car'", "'1.jpg' is listed twice", "'none.jpg' does", '1 more images'):
        assert words in text, words


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('<annotations><image', 'damaged'),
        ('<coco></coco>', "root is 'coco'"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', 'document type'),
        ('<annotations></annotations>', 'no labels'),
    ],
)
def test_other_files_are_refused(tmp_path, content, words):
    (tmp_path / 'a.xml').write_text(content)
    text = problems_of(CvatSource(tmp_path / 'a.xml'))
    assert words in text and 'a.xml' in text


def test_a_packed_export_and_a_folder_without_xml_are_named(tmp_path):
    (tmp_path / 'a.zip').write_bytes(b'PK')
    assert 'unpack it' in problems_of(CvatSource(tmp_path / 'a.zip'))
    assert 'has no XML' in problems_of(CvatSource(tmp_path))


def test_a_coco_export_of_cvat_needs_to_say_what_its_crowds_are(tmp_path):
    """Masks of its brush have iscrowd=1 and an uncompressed code; images lie in images/default."""
    write_image(tmp_path / 'images/default/cam/1.jpg')
    ring = rectangle(5, 5, 60, 60) & ~rectangle(10, 10, 20, 20)
    flat = ring.ravel(order='F').astype(int)
    changes = np.flatnonzero(np.diff(flat, prepend=0, append=1 - flat[-1]))
    counts = np.diff(changes, prepend=0).tolist()
    common = dict(image_id=1, category_id=1, area=0.0, attributes=dict(occluded=False))
    mask = dict(segmentation=dict(size=[HEIGHT, WIDTH], counts=counts), iscrowd=1)
    outline = [value for point in star(60, 44, 36) for value in point]
    annotations = [
        dict(common, id=1, bbox=[5, 5, 55, 55], **mask),
        dict(common, id=2, bbox=[24, 8, 72, 72], segmentation=[outline], iscrowd=0),
    ]
    image = dict(id=1, file_name='cam/1.jpg', height=HEIGHT, width=WIDTH, license=0)
    content = dict(images=[image], annotations=annotations, categories=[dict(id=1, name='car')])
    path = tmp_path / 'annotations/instances_default.json'
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    text = problems_of(CocoSource(tmp_path))
    assert '--crowds objects' in text and '--crowds crowds' in text
    for choice, crowds in dict(objects=[False, False], crowds=[True, False]).items():
        annotated = read(CocoSource(tmp_path, crowds=choice))['cam/1.jpg']
        near(annotated, [('car', ring), ('car', fill(star(60, 44, 36)))])
        same(type(annotated)(HEIGHT, WIDTH, annotated.regions[:1]), [('car', ring)])
        assert [region.crowd for region in annotated.regions] == crowds
