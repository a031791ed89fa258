"""Projects of Supervisely."""

import base64
import io
import json
import zlib

import cv2
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
    problems_of,
    read,
    rectangle,
    same,
    star,
    write_image,
)

from oneformer.annotation_formats.supervisely import SuperviselySource

CLASSES = [
    dict(title='cat', shape='bitmap', color='#F6FF00', id=1),
    dict(title='dog', shape='polygon', color='#00FF06', id=2),
]


def figure(title, kind, **more):
    common = dict(id=503051990, classId=1, description='', tags=[], labelerLogin='me')
    return dict(common, classTitle=title, geometryType=kind, **more)


def polygon(title, exterior, *interior, **more):
    points = dict(
        exterior=list(map(list, exterior)), interior=[list(map(list, r)) for r in interior]
    )
    return figure(title, 'polygon', points=points, **more)


def bitmap(title, mask, how='palette', **more):
    """A bitmap as Supervisely packs it: a PNG in zlib in base64, cut to its box."""
    rows, columns = np.nonzero(mask)
    crop = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.uint8)
    file, options = io.BytesIO(), {}
    if how == 'palette':
        image = Image.fromarray(crop)
        image.putpalette([0, 0, 0, 255, 255, 255])
        options = dict(transparency=0)
    elif how == 'alpha':
        image = Image.fromarray(np.stack([crop * 0, crop * 0, crop * 0, crop * 255], -1))
    else:
        image = Image.fromarray(crop * 255)
    image.save(file, 'PNG', **options)
    data = base64.b64encode(zlib.compress(file.getvalue())).decode()
    origin = [int(columns.min()), int(rows.min())]
    return figure(title, 'bitmap', bitmap=dict(data=data, origin=origin), **more)


def write(root, dataset, name, figures, size=(HEIGHT, WIDTH), ann=None, **more):
    """An image with its JSON."""
    write_image(root / dataset / 'img' / name, *size)
    content = dict(
        description='',
        tags=[],
        size=dict(height=size[0], width=size[1]),
        objects=figures,
    )
    path = root / dataset / 'ann' / (ann or f'{name}.json')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**content, **more}))


@pytest.fixture
def project(tmp_path):
    root = tmp_path / 'project'
    root.mkdir()
    (root / 'meta.json').write_text(json.dumps(dict(classes=CLASSES, tags=[])))
    return root


@pytest.mark.parametrize('how', ['palette', 'alpha', 'grey'])
def test_bitmaps_come_back_pixel_for_pixel(project, how):
    mask = rectangle(5, 5, 60, 60) & ~rectangle(10, 10, 20, 20) & ~rectangle(30, 30, 31, 31)
    masks = [mask]
    for row, column in ((0, 0), (0, WIDTH - 1), (HEIGHT - 1, 0), (HEIGHT - 1, WIDTH - 1)):
        masks.append(rectangle(column, row, column + 1, row + 1))
    write(project, 'ds', '1.jpg', [bitmap('cat', m, how) for m in masks])
    source = SuperviselySource(project)
    same(read(source)['ds/img/1.jpg'], [('cat', m) for m in masks])
    assert [(c.name, c.color) for c in source.categories] == [
        ('cat', (246, 255, 0)),
        ('dog', (0, 255, 6)),
    ]


def test_polygons_of_whole_numbers_are_filled_as_supervisely_does(project):
    """Their points are pixels, and pixels of their outline belong to them."""
    exterior = [(10, 5), (70, 12), (60, 70), (20, 80)]
    interior = [(30, 30), (45, 30), (45, 50), (30, 50)], [(20, 20), (25, 20), (22, 25)]
    single = [(0, 0), (0, 0), (0, 0)]
    edge = [(WIDTH - 20, HEIGHT - 10), (WIDTH, HEIGHT - 10), (WIDTH, HEIGHT), (WIDTH - 20, HEIGHT)]
    write(
        project,
        'ds',
        '1.jpg',
        [polygon('dog', exterior, *interior), polygon('dog', single), polygon('dog', edge)],
    )
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(canvas, [np.array(exterior, np.int32)], 1)
    for ring in interior:
        cv2.fillPoly(canvas, [np.array(ring, np.int32)], 0)
    annotated = read(SuperviselySource(project))['ds/img/1.jpg']
    expected = [canvas.astype(bool), rectangle(0, 0, 1, 1)]
    expected.append(rectangle(WIDTH - 20, HEIGHT - 10, WIDTH, HEIGHT))
    same(annotated, [('dog', mask) for mask in expected])
    assert annotated.losses == []


def test_polygons_of_fractions_are_positions_in_the_image(project):
    hole = corners_of(50.0, 38.0, 66.0, 50.0)
    write(project, 'ds', '1.jpg', [polygon('dog', star(60, 44, 36), hole)])
    expected = fill(star(60, 44, 36)) & ~rectangle(50, 38, 66, 50)
    near(read(SuperviselySource(project))['ds/img/1.jpg'], [('dog', expected)])


def test_figures_of_one_instance_key_are_one_object(project):
    pieces = [rectangle(5, 5, 20, 20), rectangle(40, 40, 60, 60), rectangle(70, 5, 80, 9)]
    figures = [
        bitmap('cat', pieces[0], instance='k'),
        bitmap('dog', pieces[1], instance='k'),
        bitmap('cat', pieces[2], instance='k'),
        bitmap('cat', pieces[1]),
    ]
    write(project, 'ds', '1.jpg', figures)
    annotated = read(SuperviselySource(project))['ds/img/1.jpg']
    same(annotated, [('cat', pieces[0] | pieces[2]), ('dog', pieces[1]), ('cat', pieces[1])])
    assert [region.order for region in annotated.regions] == [2, 1, 3]


def test_boxes_need_an_option_and_hold_their_last_pixels(project):
    box = figure('cat', 'rectangle', points=dict(exterior=[[10, 20], [29, 39]], interior=[]))
    write(project, 'ds', '1.jpg', [box])
    with pytest.raises(ValueError, match=r'1\.jpg\.json: object 503051990 is a box .*--boxes keep'):
        read(SuperviselySource(project))
    kept = read(SuperviselySource(project, boxes='keep'))['ds/img/1.jpg']
    same(kept, [('cat', rectangle(10, 20, 30, 40))])
    skipped = read(SuperviselySource(project, boxes='skip'))['ds/img/1.jpg']
    assert kinds(skipped) == {'boxes': 1}


def test_lines_points_and_tags_are_losses(project):
    points = dict(exterior=[[1, 1], [5, 5]], interior=[])
    figures = [figure('cat', 'line', points=points), figure('cat', 'point', points=points)]
    write(project, 'ds', '1.jpg', figures, tags=[dict(name='night')])
    annotated = read(SuperviselySource(project))['ds/img/1.jpg']
    assert kinds(annotated) == {
        'objects of type line': 1,
        'objects of type point': 1,
        'tags of images': 1,
    }


def test_older_files_tell_the_geometry_by_the_class(project):
    figures = [polygon('dog', corners_of(5, 5, 20, 20)), bitmap('cat', rectangle(40, 40, 60, 60))]
    for one in figures:
        del one['geometryType'], one['id']
    write(project, 'ds', '1.jpg', figures, ann='1.json')
    annotated = read(SuperviselySource(project))['ds/img/1.jpg']
    same(annotated, [('dog', rectangle(5, 5, 21, 21)), ('cat', rectangle(40, 40, 60, 60))])
    assert annotated.regions[1].where == 'object 1'


def test_datasets_are_parts_if_they_are_called_so_and_may_be_nested(project):
    for dataset in ('train', 'val'):
        write(project, dataset, '1.jpg', [])
    found = find(SuperviselySource(project))
    assert {n: i.split for n, i in found.items()} == {
        'train/img/1.jpg': 'train',
        'val/img/1.jpg': 'val',
    }
    write(project, 'train/datasets/night', '1.jpg', [])
    found = find(SuperviselySource(project))
    assert {name: image.split for name, image in found.items()} == {
        'train/datasets/night/img/1.jpg': None,
        'train/img/1.jpg': None,
        'val/img/1.jpg': None,
    }
    assert list(find(SuperviselySource(project / 'val'))) == ['img/1.jpg']


def test_images_without_a_json_are_left_out_or_kept_and_counted(project):
    write(project, 'ds', '1.jpg', [])
    write_image(project / 'ds/img/2.jpg')
    source = SuperviselySource(project)
    assert list(find(source)) == ['ds/img/1.jpg']
    assert source.notes()[0].startswith('1 images have no JSON file, such as ds/img/2.jpg')
    source = SuperviselySource(project, without_labels='keep')
    assert sorted(read(source)) == ['ds/img/1.jpg', 'ds/img/2.jpg']


def test_names_of_images_are_not_keys(project):
    names = ('0001.jpg', '1.jpg', '1.gif')
    for count, name in enumerate(names):
        write(project, 'ds', name, [bitmap('cat', rectangle(5, 5, 20, 20))] * count)
    found = read(SuperviselySource(project))
    assert {n: len(a.regions) for n, a in found.items()} == {
        f'ds/img/{name}': count for count, name in enumerate(names)
    }
    (project / 'ds/ann/1.jpg.json').rename(project / 'ds/ann/1.json')
    (project / 'ds/ann/1.gif.json').unlink()
    assert '1.json may be of 2 images' in problems_of(SuperviselySource(project))


def broken_bitmap(**more):
    one = bitmap('cat', rectangle(5, 5, 20, 20))
    one['bitmap'].update(more)
    return one


@pytest.mark.parametrize(
    ('one', 'words'),
    [
        (polygon('bird', star(60, 44, 36)), "class 'bird', which meta.json does not list"),
        (polygon('dog', [(1, 1), (5, 5)]), 'only 2 point'),
        (polygon('dog', star(60, 44, 36), [(1, 1)]), 'a hole has only 1 point'),
        (polygon('dog', [(1, 1), (5, 'x'), (9, 9)]), "point 1 is 'x'"),
        (polygon('dog', [(1, 1), (50000, 1), (9, 9)]), 'by far'),
        (broken_bitmap(data='%'), 'base64'),
        (broken_bitmap(data=base64.b64encode(b'nothing').decode()), 'zlib'),
        (broken_bitmap(data=base64.b64encode(zlib.compress(b'nothing')).decode()), 'PNG'),
        (broken_bitmap(origin=[1]), 'origin is [1]'),
        (broken_bitmap(origin=[1, 1.5]), 'origin is 1.5'),
        (figure('cat', 'bitmap'), 'bitmap is None'),
        (figure('cat', 'mask_3d'), "geometry 'mask_3d'"),
        (figure('cat', 'rectangle', points=dict(exterior=[[1, 1]])), 'not two'),
    ],
)
def test_broken_objects_are_named(project, one, words):
    write(project, 'ds', '1.jpg', [one])
    with pytest.raises(ValueError, match=r'1\.jpg\.json: object 503051990') as error:
        read(SuperviselySource(project))
    assert words in str(error.value)


def test_problems_of_structure_are_all_named_at_once(project):
    classes = [*CLASSES, dict(title='Cat', shape='polygon')]
    (project / 'meta.json').write_text(json.dumps(dict(classes=classes)))
    write(project, 'ds', '1.jpg', [])
    (project / 'ds/ann/ghost.jpg.json').write_text('{}')
    text = problems_of(SuperviselySource(project))
    for words in ("'cat' and 'Cat'", 'ghost.jpg.json'):
        assert words in text, words
    (project / 'meta.json').unlink()
    assert 'no meta.json' in problems_of(SuperviselySource(project))


def test_an_annotation_for_another_size_is_named(project):
    write(project, 'ds', '1.jpg', [])
    write_image(project / 'ds/img/1.jpg', 50, 60)
    with pytest.raises(ValueError, match=r'1\.jpg\.json: it is for an image of 128 x 96'):
        read(SuperviselySource(project))
