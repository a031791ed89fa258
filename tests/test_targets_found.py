"""Labels that teach nothing: named by the checker and before the first step, with the cause."""

import json
import re

import numpy as np
import pytest
from coco_scenes import (
    ALL,
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
    write_images,
)
from mmdet.registry import DATASETS
from mmengine.config import Config
from PIL import Image

from oneformer.inspection.checking import check_config


def found(folder, kind='instance', **kwargs):
    """Severity and kind of what the checker finds."""
    cfg = Config(dict(train_dataloader=dict(dataset=config(folder, kind, **kwargs))))
    return [(f.severity, f.kind) for f in check_config(cfg, ['train'])['train'].findings]


def all_crowds(content):
    each('iscrowd', lambda crowd: 1)(content)


@pytest.mark.parametrize('kind', ['instance', 'panoptic'])
def test_a_set_of_crowds_is_an_error_and_can_be_read_as_objects(kind, scene, said):
    content = dict(instance=instances, panoptic=panoptic)[kind](all_crowds)
    with pytest.raises(ValueError, match='none of the 2 images has a target.*all . .*CVAT'):
        build(scene, content, kind)
    assert found(scene, kind) == [('error', 'no targets')]
    # of a test set it is a warning
    build(scene, content, kind, test_mode=True)
    assert ['nothing can be scored' in warning for warning in said()] == [True]
    dataset = build(scene, content, kind, crowds='objects')
    assert not any(s['iscrowd'] for s in dataset.get_data_info(0)['segments_info'])
    np.testing.assert_array_equal(map_of(dataset) * (map_of(dataset) < 3), map_of_boxes())
    assert not said() and not found(scene, kind, crowds='objects')


@pytest.mark.parametrize('kind', ['instance', 'panoptic'])
def test_a_set_in_a_joint_set_is_named(kind, scene):
    (scene / 'b.json').write_text(json.dumps(instances()))
    content = dict(instance=instances, panoptic=panoptic)[kind](all_crowds)
    (scene / 'a.json').write_text(json.dumps(content))
    good = config(scene, ann_file='b.json', metainfo=ALL)
    joint = dict(type='JointDataset', datasets=[good, config(scene, kind, metainfo=ALL)])
    with pytest.raises(ValueError, match='a.json: none of the 2 images has a target'):
        DATASETS.build(joint)


def test_images_of_nothing_are_allowed_on_demand(scene, said):
    content = instances(lambda c: c['annotations'].clear())
    with pytest.raises(ValueError, match='no annotation of a class.*needs_targets=False'):
        build(scene, content)
    assert len(build(scene, content, needs_targets=False)) == 2
    assert len(said()) == 1


def test_classes_left_out_by_mistake_are_named(scene):
    names = dict(classes=('bird',), thing_classes=('bird',), aliases=dict(cat=None, dog=None))
    with pytest.raises(ValueError, match='no category of the JSON is among the classes bird'):
        build(scene, instances(), metainfo=names)


@pytest.mark.parametrize(
    'change, kind, text',
    [
        (
            lambda c: [a.update(iscrowd=1) for a in c['annotations'] if a['category_id'] == 2],
            'class of crowds only',
            'of 1 of 2 classes are crowds: dog. .*CVAT',
        ),
        (
            lambda c: [a.update(category_id=1) for a in c['annotations']],
            'class without target',
            'annotates nothing of 1 of them: dog',
        ),
        (
            lambda c: [a.update(iscrowd=1) for a in c['annotations'][:3]],
            'mostly crowds',
            '3 of 4 annotated objects are crowds',
        ),
        (lambda c: [a.update(area=0) for a in c['annotations']], 'areas of 0', '4 of 4 areas are'),
    ],
)
def test_what_part_of_a_set_cannot_teach_is_a_warning(change, kind, text, scene, said):
    build(scene, instances(change))
    assert re.search(text, '\n'.join(said()))
    assert ('warning', kind) in found(scene)


def test_a_panoptic_set_without_things_names_the_task(scene, said):
    def only_grass(content):
        for annotation in content['annotations']:
            del annotation['segments_info'][:2]

    (scene / 'seg').rename(scene / 'old')
    ids = np.full((HEIGHT, WIDTH, 3), (70000 & 255, 70000 >> 8 & 255, 1), np.uint8)
    (scene / 'seg').mkdir()
    for name in '12':
        Image.fromarray(ids).save(scene / f'seg/{name}.png')
    build(scene, panoptic(only_grass), 'panoptic')
    warnings = said()
    assert len(warnings) == 2
    assert 'the instance task has no target: no segment is of a thing (cat, dog)' in warnings[0]
    assert 'annotates nothing of 2 of them: cat, dog' in warnings[1]
    kinds = [('warning', 'task without targets'), ('warning', 'class without target')]
    assert found(scene, 'panoptic') == kinds
    stuff = dict(ALL, thing_classes=())
    content = panoptic(lambda c: [k.update(isthing=0) for k in c['categories']])
    (scene / 'a.json').write_text(json.dumps(content))
    build(scene, kind='panoptic', metainfo=stuff)
    assert ['metainfo.thing_classes is empty' in warning for warning in said()] == [True]


def test_one_class_is_warned_about_where_miou_says_nothing(scene, said):
    cat = dict(classes=('cat',), thing_classes=('cat',))
    build(scene, panoptic(), 'panoptic', metainfo=dict(cat, aliases=dict(dog=None, grass=None)))
    (warning,) = said()
    assert "the only class is 'cat'" in warning and 'mIoU is always 100' in warning
    # there is no semantic task in instance labels
    build(scene, instances(), metainfo=dict(cat, aliases=dict(dog=None)))
    assert not said()


def write_labels(folder, number, values):
    """Images with the same label PNG, and the settings of their set."""
    names = [f'{k}.jpg' for k in range(number)]
    write_images(folder / 'img', names)
    (folder / 'seg').mkdir()
    for name in names:
        Image.fromarray(values).save(folder / f'seg/{name[:-4]}.png')
    return dict(kind='semantic', metainfo=NAMES, ann_file='')


@pytest.mark.parametrize('values', ['void', 'masks'])
@pytest.mark.parametrize('number', [3, 20])
def test_label_pngs_that_teach_nothing_are_named_before_training(values, number, tmp_path, said):
    masks = np.where(map_of_boxes() == 1, 255, 0).astype(np.uint8)
    settings = write_labels(tmp_path, number, masks if values == 'masks' else masks * 0 + 255)
    text = f'the {min(number, 16)} label PNGs that were looked at, of {number}'
    if number < 16:
        with pytest.raises(ValueError, match=text):
            build(tmp_path, **settings)
        settings['test_mode'] = True
    # what was not looked at may be better
    build(tmp_path, **settings)
    (warning,) = said()
    assert text in warning and 'ignore_index=255' in warning
    assert found(tmp_path, **settings) == [
        *([('warning', 'empty image')] * number if values == 'void' else []),
        ('error', 'labels teach nothing'),
    ]


def shares(content):
    for annotation in content['annotations']:
        polygon = annotation['segmentation'][0]
        polygon[::2] = [x / WIDTH for x in polygon[::2]]
        polygon[1::2] = [y / HEIGHT for y in polygon[1::2]]


def test_normalised_polygons_are_an_error_with_the_remedy(scene, said):
    text = r'4 of 4 annotations lie within 0 to 1.*\(60 x 40 pixels\).*Multiply each x by the width'
    with pytest.raises(ValueError, match=text):
        build(scene, instances(shares))
    errors = [kind for severity, kind in found(scene) if severity == 'error']
    assert errors == ['normalised polygons']  # and not what follows from it

    def one(content):
        shares(dict(annotations=content['annotations'][:1]))

    build(scene, instances(one))
    assert ['of 1 of 4 annotations' in warning for warning in said()] == [True]

    # flat ones too
    def flat(content):
        shares(content)
        each('segmentation', lambda s: s[0])(content)

    with pytest.raises(ValueError, match=text):
        build(scene, instances(flat))


def test_polygons_in_percent_are_a_warning(scene, said):
    def change(content):
        content['images'][0].update(height=400, width=600)
        content['images'][1].update(height=400, width=600)
        content['annotations'] *= 2
        for number, annotation in enumerate(content['annotations']):
            content['annotations'][number] = dict(annotation, id=number)
        content['annotations'][0]['segmentation'] = [[0, 0, 90, 0, 90, 70]]

    build(scene, instances(change))
    assert ['all 8 polygons lie within 0 to 100' in warning for warning in said()] == [True]
