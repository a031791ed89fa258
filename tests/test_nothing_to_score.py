"""Why a metric is nan or says nothing, and areas in one finding: what is said beside numbers."""

import json
import logging
import math

import numpy as np
import pytest
import torch
from coco_scenes import (
    ALL,
    BOXES,
    HEIGHT,
    WIDTH,
    build,
    config,
    each,
    instances,
    map_of_boxes,
    panoptic,
)
from mmdet.registry import METRICS
from mmengine.config import Config

from oneformer.inspection.checking import check_config


def plain(data_sample):
    """A data sample as metrics get it, with a prediction of nothing, or all of the first class."""
    size = (1, HEIGHT, WIDTH)
    classes = 3
    return dict(
        data_sample.to_dict(),
        pred_panoptic_seg=dict(sem_seg=torch.full(size, classes)),
        pred_sem_seg=dict(sem_seg=torch.zeros(size, dtype=torch.long)),
        pred_instances=dict(
            labels=torch.zeros(0, dtype=torch.long),
            scores=torch.zeros(0),
            masks=torch.zeros((0, HEIGHT, WIDTH), dtype=torch.bool),
        ),
    )


def score(metric, dataset, **kwargs):
    """The numbers of a metric for predictions of nothing."""
    metric = METRICS.build(dict(type=metric, **kwargs))
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        metric.process(None, [plain(dataset[index]['data_samples'])])
    return metric.evaluate(len(dataset))


def crowds(content):
    each('iscrowd', lambda crowd: 1)(content)


def test_nan_of_crowds_names_them(scene, said):
    dataset = build(scene, panoptic(crowds), 'panoptic', test_mode=True)
    said()
    scores = score('PanopticQuality', dataset)
    assert math.isnan(scores['panoptic/PQ'])
    (text,) = said()
    assert text.startswith('PanopticQuality: PQ, SQ, RQ, PQ_th')
    assert 'are nan: all 6 ground-truth segments are crowds' in text and 'CVAT' in text
    score('InstanceAP', dataset)
    (text,) = said()
    assert 'AP_l are nan: all 4 ground-truth segments of things are crowds' in text
    # they are ground truth of the semantic task
    assert score('SemanticIoU', dataset)['semantic/mIoU'] > 0 and not said()


def test_nan_of_an_empty_set_and_of_a_kind_of_classes_is_explained(scene, said):
    sample = build(scene, panoptic(), 'panoptic')[0]['data_samples']
    sample.set_metainfo(dict(segments_info=[]))
    sample.gt_panoptic_seg.sem_seg[:] = 0
    for kind in ('PanopticQuality', 'InstanceAP', 'SemanticIoU'):
        metric = METRICS.build(dict(type=kind))
        metric.dataset_meta = ALL
        metric.process(None, [plain(sample)])
        metric.evaluate(1)
        (text,) = said()
        assert text.startswith(kind) and 'nan: no image has a ground-truth segment' in text
    things = dict(ALL, thing_classes=ALL['classes'])
    content = panoptic(lambda c: [k.update(isthing=1) for k in c['categories']])
    score('PanopticQuality', build(scene, content, 'panoptic', metainfo=things))
    text = said(logging.INFO)[-1]
    assert text.startswith('PanopticQuality: PQ_st, SQ_st, RQ_st are nan: no class is of this kind')


def test_classes_without_ground_truth_are_listed(scene, said, caplog):
    def change(content):
        for annotation in content['annotations']:
            annotation['segments_info'][0]['iscrowd'] = 1

    dataset = build(scene, panoptic(change), 'panoptic', test_mode=True)
    said()
    scores = score('InstanceAP', dataset)
    assert 'AP_m, AP_l are nan: no object is of this size' in caplog.text
    assert math.isnan(scores['instance/AP_l'])
    (text,) = said()
    assert 'InstanceAP: 1 of 2 classes have no ground truth' in text
    assert 'only crowds (iscrowd=1): cat' in text
    score('PanopticQuality', dataset)
    assert '1 of 3 classes have no ground truth' in said()[0]


def test_miou_of_one_class_is_said_to_say_nothing(scene, said):
    names = dict(classes=('cat',), thing_classes=('cat',), aliases=dict(dog=None, grass=None))
    dataset = build(scene, panoptic(), 'panoptic', metainfo=names)
    said()
    assert score('SemanticIoU', dataset)['semantic/mIoU'] == 100
    assert ["'cat' is the only class" in text for text in said()] == [True]


@pytest.mark.parametrize('written', ['marked', 'flat', 'texts'])
def test_an_official_file_is_read_as_people_have_it(written, scene, said):
    dataset = build(scene, instances(), test_mode=True)
    perfect = score('InstanceAP', dataset)
    content = instances()
    if written == 'flat':
        each('segmentation', lambda s: s[0])(content)
    elif written == 'texts':
        each('category_id', str)(content)
        each('iscrowd', str)(content)
    encoding = 'utf-8-sig' if written == 'marked' else 'utf-8'
    (scene / 'b.json').write_text(json.dumps(content), encoding=encoding)
    said()
    scores = score('InstanceAP', dataset, ann_file=str(scene / 'b.json'))
    assert scores == pytest.approx(perfect, nan_ok=True)
    assert len([text for text in said() if 'b.json' in text]) == 1
    with pytest.raises(ValueError, match='InstanceAP.ann_file is .*a tuple'):
        METRICS.build(dict(type='InstanceAP', ann_file=('b.json',)))


def areas(folder, change, kind='instance'):
    """What the checker finds of areas."""
    content = dict(instance=instances, panoptic=panoptic)[kind](change)
    (folder / 'a.json').write_text(json.dumps(content))
    cfg = Config(dict(train_dataloader=dict(dataset=config(folder, kind))))
    found = check_config(cfg, ['train'])['train'].findings
    return [f for f in found if f.kind == 'areas disagree']


def triangle(content):
    for annotation in content['annotations']:
        left, top, right, bottom = BOXES[annotation['category_id'] - 1]
        annotation['segmentation'] = [[left, top, right, top, left, bottom]]


@pytest.mark.parametrize(
    'change, text',
    [
        (lambda c: [a.update(area=4 * a['area']) for a in c['annotations']], '4 times the pixels'),
        (triangle, 'they are the areas of the boxes'),
        (lambda c: [a.update(area=0) for a in c['annotations']], 'all of them are 0'),
        (lambda c: [a.update(area=0.13) for a in c['annotations']], 'shares of the image'),
        (lambda c: c['annotations'][1].update(area=9000), 'annotation 4 .dog. of image id 1'),
    ],
)
def test_areas_that_disagree_are_one_finding_with_its_cause(change, text, scene):
    (finding,) = areas(scene, change)
    count = 1 if 'annotation 4' in text else 4
    assert f'the areas of {count} of 4 segments are not their numbers of pixels' in finding.message
    assert text.replace('.', '') in finding.message.replace('(', '').replace(')', '') or (
        text in finding.message
    )


def test_areas_of_panoptic_segments_are_one_finding(scene):
    pixels = np.bincount(map_of_boxes().ravel())

    def change(content):
        for annotation in content['annotations']:
            for segment, number in zip(annotation['segments_info'], (1, 2, 0)):
                segment['area'] = int(pixels[number]) * 9 // 4

    (finding,) = areas(scene, change, 'panoptic')
    assert 'the areas of 6 of 6 segments' in finding.message
    assert '2.25 times the pixels, as if computed on images 1.5 times' in finding.message


def test_missing_files_name_what_their_folder_has(scene):
    (scene / 'img/1.jpg').rename(scene / 'img/1.jpeg')
    dataset = build(scene, instances())
    with pytest.raises(FileNotFoundError, match=r"1.jpg does not exist \(similar is '1.jpeg'"):
        dataset[0]
    dataset = build(scene, instances(), data_prefix=dict(img='imgs'))
    with pytest.raises(FileNotFoundError, match=r'imgs is not a folder; .* is\)'):
        dataset[0]


def test_a_training_says_which_images_have_more_targets_than_queries(scene, run_tool, config_dir):
    def many(content):
        content['annotations'] = [
            dict(
                id=k,
                image_id=1,
                category_id=1 + k % 2,
                iscrowd=0,
                segmentation=[[k, 2, k + 1, 2, k + 1, 9, k, 9]],
            )
            for k in range(1, 36)
        ]

    for split in ('train', 'val'):
        (scene / f'{split}.json').write_text(json.dumps(instances(many)))
        (scene / split).symlink_to(scene / 'img')
    loaders = [f'{k}_dataloader.dataset.data_root={scene}' for k in ('train', 'val', 'test')]
    printed = run_tool(
        'train', config_dir / 'your_data/instance.py', '--dry-run', '--cfg-options', *loaders,
        'model.backbone.pretrained=False', 'train_dataloader.batch_size=2',
    )  # fmt: skip
    text = 'more targets than the model has queries (30), image id 1 has 35'
    assert text in printed
