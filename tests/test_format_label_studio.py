"""The JSON export of Label Studio."""

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
    problems_of,
    read,
    rectangle,
    same,
    star,
    write_image,
)

from oneformer.annotation_formats.brush import decode_values
from oneformer.annotation_formats.label_studio import LabelStudioSource


def region(kind, labels, number='a1', size=(HEIGHT, WIDTH), **value):
    """A result of one tag, such as PolygonLabels."""
    return dict(
        id=number,
        type=kind,
        from_name='label',
        to_name='image',
        original_height=size[0],
        original_width=size[1],
        image_rotation=0,
        value={**value, kind: labels},
    )


def polygon(label, ring, number='a1'):
    points = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in ring]
    return region('polygonlabels', [label], number, points=points, closed=True)


def bits_of(values, rle_sizes=(3, 4, 8, 16), literal=False):
    """The code of values 0 to 255, as text of 0 and 1; ``literal`` repeats nothing."""
    text = f'{len(values):032b}{8 - 1:05b}' + ''.join(f'{size - 1:04b}' for size in rle_sizes)
    place = 0
    while place < len(values):
        most = 1 << rle_sizes[0] if literal else 1 << 16
        end = place + 1
        while (
            end < len(values) and end - place < most and (literal or values[end] == values[place])
        ):
            end += 1
        which = next(k for k, size in enumerate(rle_sizes) if end - place <= 1 << size)
        text += f'{int(not literal)}{which:02b}{end - place - 1:0{rle_sizes[which]}b}'
        text += ''.join(
            f'{v:08b}' for v in (values[place:end] if literal else values[place : place + 1])
        )
        place = end
    return text


def code(values, **options):
    """The bytes of a code as a list of numbers."""
    text = bits_of(list(map(int, values)), **options)
    text += '0' * (-len(text) % 8)
    return [int(text[k : k + 8], 2) for k in range(0, len(text), 8)]


def brush(label, mask, number='a1', alpha=255, **options):
    rgba = np.repeat(mask.astype(int).ravel() * alpha, 4)
    return region('brushlabels', [label], number, format='rle', rle=code(rgba, **options))


def write(path, tasks, **more):
    """An export; tasks are (image, results) or (image, None) without annotation."""
    content = []
    for number, (image, results) in enumerate(tasks, 11):
        annotations = [] if results is None else [annotation(results)]
        content.append(dict(id=number, data=dict(image=image), annotations=annotations))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def annotation(results, **more):
    return dict(id=1, result=results, was_cancelled=False, ground_truth=False) | more


def one_task(path, **task):
    """An export of one task of image 1.png."""
    path.write_text(json.dumps([dict(id=11, data=dict(image='1.png'), **task)]))
    return path


def test_polygons_come_back_with_order_and_labels(tmp_path):
    write_image(tmp_path / '1.png')
    regions = [polygon('cat', star(60, 44, 36)), polygon('dog', star(90, 60, 30), 'b')]
    write(tmp_path / 'export.json', [('1.png', regions)])
    for path in (tmp_path, tmp_path / 'export.json'):
        source = LabelStudioSource(path)
        annotated = read(source)['1.png']
        near(annotated, [('cat', fill(star(60, 44, 36))), ('dog', fill(star(90, 60, 30)))])
        assert [category.name for category in source.categories] == ['cat', 'dog']


@pytest.mark.parametrize('literal', [False, True])
@pytest.mark.parametrize('rle_sizes', [(3, 4, 8, 16), (2, 5, 9, 16)])
def test_brushes_come_back_pixel_for_pixel(tmp_path, literal, rle_sizes):
    write_image(tmp_path / '1.png')
    mask = rectangle(5, 5, 60, 60) & ~rectangle(10, 10, 20, 20) & ~rectangle(30, 30, 31, 31)
    mask[0, 0] = mask[0, -1] = mask[-1, 0] = mask[-1, -1] = True
    mask[70:90, 70:100] = np.random.default_rng(0).random((20, 30)) < 0.5
    result = brush('cat', mask, literal=literal, rle_sizes=rle_sizes)
    write(tmp_path / 'a.json', [('1.png', [result])])
    same(read(LabelStudioSource(tmp_path))['1.png'], [('cat', mask)])


def test_a_code_that_was_worked_out_by_hand_is_decoded():
    """Six values: 7 three times, then 1, 2, 3."""
    bits = f'{6:032b}' + f'{7:05b}' + f'{2:04b}{3:04b}{7:04b}{15:04b}'
    bits += '1' + '00' + '010' + '00000111'  # repeated, first size, length 3
    bits += '0' + '01' + '0010' + '00000001' + '00000010' + '00000011'  # as they are, second size
    bits += '0' * (-len(bits) % 8)
    data = bytes(int(bits[k : k + 8], 2) for k in range(0, len(bits), 8))
    assert decode_values(data).tolist() == [7, 7, 7, 1, 2, 3]


def test_smoothed_edges_and_weak_brushes_belong_to_the_mask_from_half_on(tmp_path):
    write_image(tmp_path / '1.png')
    alpha = np.zeros((HEIGHT, WIDTH), int)
    alpha[10:20, 10:20], alpha[9, 10:20], alpha[20, 10:20] = 100, 40, 60
    result = brush('cat', np.ones((HEIGHT, WIDTH)))
    result['value']['rle'] = code(np.repeat(alpha.ravel(), 4))
    write(tmp_path / 'a.json', [('1.png', [result])])
    same(read(LabelStudioSource(tmp_path))['1.png'], [('cat', rectangle(10, 10, 20, 21))])


def test_one_pixel_in_each_corner_survives(tmp_path):
    write_image(tmp_path / '1.png')
    masks, rings = [], []
    for row, column in ((0, 0), (0, WIDTH - 1), (HEIGHT - 1, 0), (HEIGHT - 1, WIDTH - 1)):
        masks.append(rectangle(column, row, column + 1, row + 1))
        rings.append(corners_of(column, row, column + 1, row + 1))
    results = [brush('cat', mask, f'b{k}') for k, mask in enumerate(masks)]
    results += [polygon('cat', ring, f'p{k}') for k, ring in enumerate(rings)]
    write(tmp_path / 'a.json', [('1.png', results)])
    same(read(LabelStudioSource(tmp_path))['1.png'], [('cat', mask) for mask in masks * 2])


def test_bitmasks_come_back_pixel_for_pixel(tmp_path):
    write_image(tmp_path / '1.png')
    mask = rectangle(5, 5, 60, 60) & ~rectangle(10, 10, 20, 20)
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[mask] = (0, 0, 0, 255)
    file = io.BytesIO()
    Image.fromarray(rgba).save(file, 'PNG')
    url = 'data:image/png;base64,' + base64.b64encode(file.getvalue()).decode()
    result = region('bitmasklabels', ['cat'], imageDataURL=url)
    write(tmp_path / 'a.json', [('1.png', [result])])
    same(read(LabelStudioSource(tmp_path))['1.png'], [('cat', mask)])


def test_boxes_need_an_option_and_ellipses_are_areas(tmp_path):
    write_image(tmp_path / '1.png')
    box = dict(x=25, y=25, width=25, height=50)
    results = [
        region('rectanglelabels', ['cat'], 'a', **box, rotation=0),
        region('rectanglelabels', ['cat'], 'b', **box, rotation=90),
        region('ellipselabels', ['dog'], 'c', x=50, y=50, radiusX=25, radiusY=20, rotation=0),
    ]
    write(tmp_path / 'a.json', [('1.png', results)])
    with pytest.raises(ValueError, match=r"a\.json: task 11: region 'a' is a box .*--boxes keep"):
        read(LabelStudioSource(tmp_path))
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    disk = ((x - 64) / 32) ** 2 + ((y - 48) / 19.2) ** 2 < 1
    kept = read(LabelStudioSource(tmp_path, boxes='keep'))['1.png']
    turned = rectangle(0, 24, 32, 56)  # a quarter turn clockwise about (32, 24), cut at the edge
    near(kept, [('cat', rectangle(32, 24, 64, 72)), ('cat', turned), ('dog', disk)], 0.97)
    skipped = read(LabelStudioSource(tmp_path, boxes='skip'))['1.png']
    assert len(skipped.regions) == 1 and kinds(skipped) == {'boxes': 2}


def test_labels_may_be_results_of_their_own(tmp_path):
    """<Labels> with <Polygon>: two results with one id, both with the points."""
    write_image(tmp_path / '1.png')
    first = polygon('cat', star(60, 44, 36))
    points = first['value']['points']
    area = dict(first, type='polygon', value=dict(points=points))
    label = dict(first, type='labels', value=dict(points=points, labels=['dog']))
    for results in ([area, label], [label, area], [label]):
        write(tmp_path / 'a.json', [('1.png', results)])
        source = LabelStudioSource(tmp_path)
        annotated = read(source)['1.png']
        near(annotated, [('dog', fill(star(60, 44, 36)))])
        assert annotated.losses == [] and [c.name for c in source.categories] == ['dog']


def test_predictions_key_points_and_regions_without_a_label_are_losses(tmp_path):
    write_image(tmp_path / '1.png')
    results = [
        polygon('cat', star(60, 44, 36)),
        dict(polygon('cat', star(60, 44, 36), 'x'), value=dict(points=[[1, 1], [2, 1], [2, 2]])),
        region('keypointlabels', ['eye'], 'k', x=5, y=5, width=1),
        dict(id='c', type='choices', value=dict(choices=['night'])),
        dict(type='relation', from_id='a1', to_id='x'),
    ]
    write(tmp_path / 'a.json', [('1.png', results)])
    source = LabelStudioSource(tmp_path)
    annotated = read(source)['1.png']
    near(annotated, [('cat', fill(star(60, 44, 36)))])
    assert kinds(annotated) == {
        'regions without a label': 1,
        'regions of type keypoint': 1,
        'answers of type choices': 1,
        'answers of type relation': 1,
    }
    assert [category.name for category in source.categories] == ['cat']


@pytest.mark.parametrize(
    ('text', 'file'),
    [
        ('/data/upload/3/1a2b3c4d-my%20cat.jpg', 'my cat.jpg'),
        ('/data/upload/3/1a2b3c4d-my%20cat.jpg', '1a2b3c4d-my cat.jpg'),
        ('/data/local-files/?d=images/a/cat%231.jpg', 'a/cat#1.jpg'),
        ('/data/local-files/?d=C%3A%5Cimages%5Ca%5Ccat.jpg', 'a/cat.jpg'),
        ('s3://bucket/images/a/cat.jpg', 'images/a/cat.jpg'),
        ('https://example.org/a/cat.jpg?token=1', 'cat.jpg'),
        ('a\\cat.jpg', 'a/cat.JPG'),
    ],
)
def test_images_are_found_by_the_end_of_their_path(tmp_path, text, file):
    write_image(tmp_path / 'images' / file)
    write(tmp_path / 'a.json', [(text, [polygon('cat', star(60, 44, 36))])])
    source = LabelStudioSource(tmp_path / 'a.json', images=str(tmp_path / 'images'))
    (annotated,) = read(source).values()
    assert list(find(source)) == [file]
    assert len(annotated.regions) == 1


def test_two_tasks_for_one_image_are_a_problem(tmp_path):
    write_image(tmp_path / 'cat.jpg')
    texts = ['/data/upload/3/1a2b3c4d-cat.jpg', '/data/upload/3/5a6b7c8d-cat.jpg']
    write(tmp_path / 'a.json', [(text, []) for text in texts])
    assert "task 12 is for image 'cat.jpg', as is task 11" in problems_of(
        LabelStudioSource(tmp_path)
    )


def test_of_several_annotations_the_ground_truth_or_the_chosen_one_counts(tmp_path):
    write_image(tmp_path / '1.png')
    first, second = [polygon('cat', star(60, 44, 36))], [polygon('dog', star(90, 60, 30))]
    annotations = [
        annotation(second, updated_at='2024-02-02T00:00:00Z'),
        annotation(first, updated_at='2024-01-01T00:00:00Z'),
        annotation([], was_cancelled=True, updated_at='2025-01-01T00:00:00Z'),
    ]
    path = one_task(tmp_path / 'a.json', annotations=annotations)
    text = problems_of(LabelStudioSource(path))
    assert 'task 11 has 2 annotations' in text and '--annotation latest' in text
    for choice, label in dict(first='cat', latest='dog').items():
        annotated = read(LabelStudioSource(path, annotation=choice))['1.png']
        assert [region.category for region in annotated.regions] == [label]
    annotations[1]['ground_truth'] = True
    annotated = read(LabelStudioSource(one_task(path, annotations=annotations)))['1.png']
    assert [region.category for region in annotated.regions] == ['cat']


def test_tasks_without_annotation_are_left_out_or_kept_and_counted(tmp_path):
    for number in range(4):
        write_image(tmp_path / f'{number}.png')
    regions = [polygon('cat', star(60, 44, 36))]
    write(tmp_path / 'a.json', [('0.png', regions), ('1.png', None), ('2.png', [])])
    source = LabelStudioSource(tmp_path)
    assert list(find(source)) == ['0.png', '2.png']
    assert '3.png' in source.notes()[0]
    assert source.notes()[1].startswith('1 images have a task without annotation, such as 1.png')
    assert list(find(LabelStudioSource(tmp_path, without_labels='keep'))) == [
        '0.png',
        '1.png',
        '2.png',
    ]


def test_the_image_of_a_task_that_is_left_out_may_be_missing(tmp_path):
    write_image(tmp_path / '0.png')
    regions = [polygon('cat', star(60, 44, 36))]
    write(tmp_path / 'a.json', [('0.png', regions), ('none.png', None)])
    assert list(find(LabelStudioSource(tmp_path))) == ['0.png']
    assert "'none.png'" in problems_of(LabelStudioSource(tmp_path, without_labels='keep'))


def test_regions_on_several_images_of_a_task_are_refused(tmp_path):
    write_image(tmp_path / '0.png')
    one, two = polygon('cat', star(60, 44, 36)), polygon('cat', star(60, 44, 36), 'b')
    for more in (dict(to_name='image2'), dict(item_index=1)):
        write(tmp_path / 'a.json', [('0.png', [one, dict(two, **more)])])
        assert 'task 11 has regions on several images' in problems_of(LabelStudioSource(tmp_path))


def broken(kind='polygonlabels', labels=('cat',), **value):
    return region(kind, list(labels), **value)


POINTS = [[1, 1], [9, 1], [9, 9]]


@pytest.mark.parametrize(
    ('result', 'words'),
    [
        (broken(points=POINTS[:2]), 'only 2 point'),
        (broken(points=[*POINTS, [1, 'x']]), "point 3 is 'x'"),
        (broken(points=[*POINTS, 1]), 'point 3 is 1'),
        (broken(points=POINTS, labels=['cat', 'dog']), "labels ['cat', 'dog']"),
        (broken('brushlabels', rle=[1, 2, 3]), 'rle is damaged'),
        (broken('brushlabels', rle=code(np.zeros(4 * HEIGHT * WIDTH))[:-1]), 'ends too early'),
        (broken('brushlabels', rle=code(np.zeros(4))), '4 values'),
        (broken('brushlabels', rle=[300]), 'rle is damaged'),
        (broken('brushlabels'), 'neither rle nor'),
        (broken('bitmasklabels', imageDataURL='data:image/png;base64,aaaa'), 'PNG'),
        (dict(broken(points=POINTS), image_rotation=90), 'image_rotation is 90'),
    ],
)
def test_broken_regions_are_named(tmp_path, result, words):
    write_image(tmp_path / '1.png')
    write(tmp_path / 'a.json', [('1.png', [result])])
    with pytest.raises(ValueError, match=r"a\.json: task 11[:,] region 'a1'") as error:
        read(LabelStudioSource(tmp_path))
    assert words in str(error.value)


def test_a_task_for_an_image_of_another_size_is_named(tmp_path):
    write_image(tmp_path / '1.png')
    result = region('polygonlabels', ['cat'], size=(50, 60), points=POINTS)
    write(tmp_path / 'a.json', [('1.png', [result])])
    with pytest.raises(ValueError, match=r'task 11: it is for an image of 60 x 50'):
        read(LabelStudioSource(tmp_path))


def test_problems_of_structure_are_all_named_at_once(tmp_path):
    write_image(tmp_path / '1.png')
    regions = [polygon('cat', star(60, 44, 36)), polygon('Cat', star(60, 44, 36), 'b')]
    write(tmp_path / 'a.json', [('1.png', regions), ('none.png', []), ('no picture', [])])
    text = problems_of(LabelStudioSource(tmp_path))
    for words in ("'Cat', 'cat'", "'none.png' does not exist", '1 more images', '--images FOLDER'):
        assert words in text, words


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ([dict(image='1.png', label=[])], 'not as JSON-MIN'),
        (dict(a=1), 'no list of tasks'),
        ([dict(id=1, data=dict(text='hello', title='x'), annotations=[])], 'one image is expected'),
        ([dict(id=1, data=dict(image='1.png'), annotations=[dict(id=7)])], 'a list "result"'),
    ],
)
def test_other_files_are_refused(tmp_path, content, words):
    write_image(tmp_path / '1.png')
    (tmp_path / 'a.json').write_text(json.dumps(content))
    text = problems_of(LabelStudioSource(tmp_path))
    assert words in text and 'a.json' in text
