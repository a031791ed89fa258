"""JSONs as people have them: what means one thing is read and said once, the rest is named."""

import codecs
import json
import shutil

import numpy as np
import pytest
from coco_scenes import (
    HEIGHT,
    NAMES,
    WIDTH,
    build,
    config,
    each,
    instances,
    map_of,
    map_of_boxes,
    panoptic,
    polygon,
    write_images,
)
from mmengine.config import Config
from PIL import Image

from oneformer.inspection.checking import check_config


def pairs(polygons):
    return [[polygon[i : i + 2] for i in range(0, len(polygon), 2)] for polygon in polygons]


def nested_texts(value):
    return [nested_texts(one) for one in value] if isinstance(value, list) else str(value)


READ = dict(
    image_id_text=('annotations', 'image_id', str, "'1' -> 1"),
    image_id_with_zeros=('annotations', 'image_id', lambda i: f'{i:012}', "'000000000001' -> 1"),
    image_id_float=('annotations', 'image_id', float, '1.0 -> 1'),
    category_id_text=('annotations', 'category_id', str, "'1' -> 1"),
    category_id_float=('annotations', 'category_id', float, '1.0 -> 1'),
    categories_text=('categories', 'id', str, "'1' -> 1"),
    height_text=('images', 'height', str, f"'{HEIGHT}' -> {HEIGHT}"),
    width_float=('images', 'width', float, f'{WIDTH}.0 -> {WIDTH}'),
    image_ids_float=('images', 'id', float, '1.0 -> 1'),
    crowd_text=('annotations', 'iscrowd', str, "'0' -> 0"),
    crowd_word=('annotations', 'iscrowd', lambda crowd: 'False', "'False' -> 0"),
    area_text=('annotations', 'area', str, "'320' -> 320"),
    flat=('annotations', 'segmentation', lambda s: s[0], 'flat polygon'),
    paired=('annotations', 'segmentation', lambda s: pairs(s)[0], 'pairs'),
    nested=('annotations', 'segmentation', pairs, 'brackets'),
    nested_twice=('annotations', 'segmentation', lambda s: [s], 'brackets'),
    as_in_geojson=('annotations', 'segmentation', lambda s: [pairs(s)], 'brackets'),
    coordinate_texts=('annotations', 'segmentation', nested_texts, 'texts'),
    flat_texts=('annotations', 'segmentation', lambda s: nested_texts(s[0]), 'texts'),
    backslashes=('images', 'file_name', lambda n: f'..\\img\\{n}'[3:].replace('img\\', '.\\'), '/'),
    other_suffix=('images', 'file_name', lambda n: n.replace('jpg', 'JPG'), "'1.JPG' -> '1.jpg'"),
    blank=('images', 'file_name', lambda n: f'{n} ', "'1.jpg ' -> '1.jpg'"),
)


@pytest.mark.parametrize('name', READ)
def test_what_means_one_thing_is_read_and_said_once(name, scene, said):
    where, key, change, text = READ[name]
    dataset = build(scene, instances(each(key, change, where)))
    for index in (0, 1):
        np.testing.assert_array_equal(map_of(dataset, index), map_of_boxes())
    assert [s['category'] for s in dataset.get_data_info(1)['segments_info']] == ['cat', 'dog']
    assert dataset.metainfo['category_ids'] == (1, 2)
    (warning,) = said()
    assert f'{scene}/a.json: {2 if where in ("images", "categories") else 4} ' in warning
    kinds = {'flat polygon': '[x, y, x, y, ...]', 'pairs': '[[x, y], [x, y], ...]'}
    assert kinds.get(text, text) in warning
    # the checker says it as well, as a warning
    cfg = Config(dict(train_dataloader=dict(dataset=config(scene))))
    (finding,) = check_config(cfg, ['train'])['train'].findings
    assert (finding.severity, finding.message) == ('warning', warning)


@pytest.mark.parametrize(
    'where, key, change',
    [
        ('annotations', 'image_id', str),
        ('annotations', 'category_id', float),
        ('annotations', 'id', str),
        ('annotations', 'iscrowd', lambda crowd: 'false'),
        ('categories', 'isthing', str),
        ('annotations', 'file_name', lambda n: n.replace('png', 'PNG')),
        ('annotations', 'file_name', lambda n: f'.\\{n}'),
        ('images', 'file_name', str.upper),
    ],
)
def test_panoptic_files_are_read_alike(where, key, change, scene, said):
    dataset = build(scene, panoptic(each(key, change, where)), 'panoptic')
    expected = np.where(map_of_boxes(), map_of_boxes(), 3)
    np.testing.assert_array_equal(map_of(dataset, 1), expected)
    assert len(said()) == 1


@pytest.mark.parametrize('number', ['7', 7.0])
def test_ids_of_images_follow_the_type_of_the_image_list(number, scene):
    def change(content):
        content['images'][0]['id'] = 'seven'
        content['images'][1]['id'] = '7'
        for annotation in content['annotations']:
            annotation['image_id'] = 'seven' if annotation['image_id'] == 1 else number

    dataset = build(scene, instances(change))
    assert [dataset.get_data_info(i)['img_id'] for i in (0, 1)] == ['seven', '7']
    assert len(dataset.get_data_info(1)['segments_info']) == 2


def test_ids_that_could_be_two_are_not_read(scene):
    def change(content):
        content['images'][1]['id'] = '01'
        content['annotations'] = content['annotations'][:2]
        content['annotations'][0]['image_id'] = '1'

    with pytest.raises(ValueError, match=r"image id '1', which .* \(it lists 2, such as 1, '01'\)"):
        build(scene, instances(change))


@pytest.mark.parametrize(
    'change, text',
    [
        (lambda s: dict(all_points_x=[1, 9, 9], all_points_y=[1, 1, 9]), 'is a dict of'),
        (lambda s: [dict(x=x, y=y) for x, y in pairs(s)[0]], r"has dicts of \['x', 'y'\]"),
        (lambda s: json.dumps(s), 'a str: write a list of polygons'),
        # a smaller ring within a larger one
        (lambda s: pairs([polygon((0, 0, 30, 30)), polygon((5, 5, 9, 9))]), 'a hole or a part'),
    ],
)
def test_segmentations_that_are_not_read_say_what_they_are(change, text, scene):
    with pytest.raises(ValueError, match=f'a.json: annotation 3 of image id 1: .*{text}'):
        build(scene, instances(each('segmentation', change)))


@pytest.mark.parametrize('mark', ['utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('kind', ['instance', 'panoptic'])
def test_byte_order_marks_are_read(mark, kind, scene, said):
    content = json.dumps(dict(instance=instances, panoptic=panoptic)[kind]()).encode(mark)
    dataset = build(scene, content, kind)
    assert map_of(dataset)[10, 10] == 1
    (warning,) = said()
    assert 'starts with a byte order mark' in warning and f'{scene}/a.json' in warning


@pytest.mark.parametrize('mark', [codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_lists_of_images_are_read_with_marks_and_backslashes(mark, scene, said):
    (scene / 'seg').rename(scene / 'other')
    write_images(scene / 'img/a', ('1.jpg',))
    (scene / 'seg/a').mkdir(parents=True)
    Image.fromarray(map_of_boxes().astype(np.uint8)).save(scene / 'seg/a/1.png')
    encoding = 'utf-8' if mark == codecs.BOM_UTF8 else 'utf-16-le'
    (scene / 'list.txt').write_bytes(mark + 'a\\1\r\n'.encode(encoding))
    dataset = build(scene, kind='semantic', ann_file='list.txt')
    assert dataset.get_data_info(0)['img_path'] == f'{scene}/img/a/1.jpg'
    assert [('mark' in text, 'backslashes' in text) for text in said()] == [
        (True, False),
        (False, True),
    ]


def test_names_with_backslashes_that_exist_so_stay(scene, said):
    shutil.copy(scene / 'img/1.jpg', scene / 'img/a\\1.jpg')
    dataset = build(scene, instances(lambda c: c['images'][0].update(file_name='a\\1.jpg')))
    assert dataset.get_data_info(0)['img_path'] == f'{scene}/img/a\\1.jpg'
    assert not said()


@pytest.mark.parametrize('name', ['C:\\images\\1.jpg', 'a\\..\\..\\1.jpg', '\\\\server\\1.jpg'])
def test_names_that_leave_the_folder_stay_refused(name, scene):
    with pytest.raises(ValueError, match='not the name of a file below its folder'):
        build(scene, instances(lambda c: c['images'][0].update(file_name=name)))


def test_a_name_that_two_files_fit_is_not_read(scene):
    write_images(scene / 'img', ('x.JPG', 'X.jpg'))
    dataset = build(scene, instances(lambda c: c['images'][0].update(file_name='x.jpg')))
    with pytest.raises(FileNotFoundError, match='img/x.jpg does not exist'):
        dataset[0]


@pytest.mark.parametrize('prefix, found', [('img', '1.jpg'), ('', 'img/1.jpg')])
def test_names_come_from_coco_url(prefix, found, scene, said):
    def change(content):
        for image in content['images']:
            image['coco_url'] = f'http://images.example.org/img/{image.pop("file_name")}'

    dataset = build(scene, instances(change), data_prefix=dict(img=prefix))
    assert map_of(dataset, 0)[10, 10] == 1
    (warning,) = said()
    assert f"'http://images.example.org/img/1.jpg' -> '{found}'" in warning


def test_images_without_a_name_say_what_they_have(scene):
    def change(content):
        image = content['images'][0]
        del image['file_name']
        image['coco_url'] = 'http://images.example.org/val/9.jpg'

    with pytest.raises(ValueError, match="neither 'val/9.jpg' nor '9.jpg' exists below"):
        build(scene, instances(change))

    def rename(content):
        content['images'][0]['fileName'] = content['images'][0].pop('file_name')

    with pytest.raises(ValueError, match="lacks .*it has 'fileName': call it 'file_name'"):
        build(scene, instances(rename))


@pytest.mark.parametrize(
    'settings, text',
    [
        (dict(ann_file=('a.json',)), r"ann_file is \('a.json',\), a tuple.*without the comma"),
        (dict(ann_file=['a.json', 'b.json']), 'which a JointDataset joins'),
        (dict(data_root=('data/',)), "data_root is .*write 'data/', without the comma"),
        (dict(data_prefix=(dict(img='img'),)), 'data_prefix is .*a tuple, not a dict of folders'),
        (dict(data_prefix='img'), "data_prefix is 'img', a str, not a dict of folders"),
        (dict(data_prefix=dict(img=('img',))), r"data_prefix.img is \('img',\), a tuple"),
        (dict(data_prefix=dict(img_path='img')), r"has \['img_path'\], but lacks \['img'\]"),
        (dict(metainfo=(NAMES,)), 'metainfo is .*a tuple: write dict.*without the comma'),
        (dict(metainfo=dict(NAMES, classes='cat')), "metainfo.classes is the text 'cat'"),
        (dict(metainfo=dict(NAMES, thing_classes=('Cat',))), "'Cat' looks like 'cat'"),
        (dict(metainfo=dict(NAMES, aliases=dict(puppy='dogs'))), "'dogs' looks like 'dog'"),
        (dict(metainfo='cityscape'), "'cityscape' looks like 'cityscapes'"),
        (dict(crowds='object'), "crowds takes .*not 'object'"),
    ],
)
def test_settings_of_another_kind_are_named(settings, text, scene):
    (scene / 'a.json').write_text(json.dumps(instances()))
    with pytest.raises(ValueError, match=text):
        build(scene, **settings)


def test_categories_that_are_almost_classes_are_told(scene):
    with pytest.raises(ValueError, match="'Dog' looks like 'dog'"):
        build(scene, instances(lambda c: c['categories'][1].update(name='Dog')))


def test_warnings_of_training_are_one_line_of_a_kind(scene, said):
    def change(content):
        content['images'] *= 40

    build(scene, panoptic(change), 'panoptic')
    (warning,) = said()
    assert 'lists image id 1 twice' in warning and '(and 77 more: image listed twice' in warning


def test_images_without_annotation_are_one_finding(scene, said):
    def change(content):
        new = [dict(content['images'][0], id=k, file_name=f'{k}.jpg') for k in range(3, 90)]
        content['images'] += new

    build(scene, panoptic(change), 'panoptic')
    (warning,) = said()
    assert 'does not annotate 87 of its 89 images' in warning and 'image id 3 (3.jpg)' in warning
