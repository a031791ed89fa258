"""Cityscapes by its own scripts: the numbers, the submission, and nothing left behind."""

import sys
from copy import copy

import numpy as np
import pytest
import torch
from cityscapesscripts.helpers import labels
from evaluation_peer import evaluate
from mmdet.registry import METRICS
from PIL import Image

from oneformer.metainfo import KNOWN_DATASETS

META = KNOWN_DATASETS['cityscapes']
SIZE = (64, 96)
ROAD, SKY, PERSON, CAR = (META['classes'].index(name) for name in ('road', 'sky', 'person', 'car'))
ID_OF_LABEL = np.array([labels.name2label[name].id for name in META['classes']])


def box(top, bottom, left, right):
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def write_ground_truth(folder, number, objects):
    """The two gtFine files of an image: sky over road, a void strip, and objects [(id, mask)]."""
    ids = np.where(box(0, 20, 0, 96), 23, 7)
    ids[60:] = 3
    instances = ids.copy()
    for instance, mask in objects:
        instances[mask] = instance
        ids[mask] = instance // 1000 if instance >= 1000 else instance
    folder = folder / 'gtFine/val/aachen'
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f'aachen_{number:06d}_000019_gtFine'
    Image.fromarray(ids.astype(np.uint8)).save(f'{stem}_labelIds.png')
    Image.fromarray(instances.astype(np.uint16)).save(f'{stem}_instanceIds.png')
    return ids, instances


def make_sample(folder, number, ids, detections):
    """A prediction: a map of Cityscapes' ids, and [(label, score, mask)]; void is labelled road."""
    label_of_id = np.full(34, ROAD)
    label_of_id[ID_OF_LABEL] = np.arange(19)
    name = f'aachen_{number:06d}_000019'
    return dict(
        img_id=name,
        img_path=f'{folder}/leftImg8bit/val/aachen/{name}_leftImg8bit.png',
        ori_shape=SIZE,
        pred_sem_seg=dict(sem_seg=torch.tensor(label_of_id[ids])[None]),
        pred_instances=dict(
            labels=torch.tensor([d[0] for d in detections], dtype=torch.int64),
            scores=torch.tensor([d[1] for d in detections], dtype=torch.float64),
            masks=torch.tensor(np.array([d[2] for d in detections]).reshape(-1, *SIZE)),
        ),
    )


OBJECTS = [  # two cars and a person; a group of cars; a car of less than 100 pixels and no more
    [(26000, box(30, 50, 5, 40)), (26001, box(30, 55, 45, 70)), (24000, box(25, 55, 75, 85))],
    [(26, box(30, 50, 5, 40)), (24003, box(25, 55, 75, 85))],
    [(26007, box(40, 48, 50, 60))],
]


@pytest.fixture
def truth(tmp_path):
    """Folder, and the id and instance maps of three images."""
    return tmp_path, [write_ground_truth(tmp_path, n, o) for n, o in enumerate(OBJECTS)]


@pytest.fixture
def perfect(truth):
    folder, maps = truth
    samples = []
    for number, (ids, instances) in enumerate(maps):
        found = [
            (CAR if i // 1000 == 26 else PERSON, 0.9, instances == i)
            for i in np.unique(instances)
            if i >= 1000
        ]
        samples.append(make_sample(folder, number, ids, found))
    return folder, samples


@pytest.fixture
def flawed(truth):
    """Moved, doubled, missed and invented objects, and a few wrong pixels."""
    folder, maps = truth
    rng = np.random.default_rng(0)
    samples = []
    for number, (ids, instances) in enumerate(maps):
        detections = [(PERSON, 0.3, box(2, 18, 20, 60)), (CAR, 0.35, box(28, 52, 8, 40))]
        for i in np.unique(instances[instances >= 1000]):
            label = CAR if i // 1000 == 26 else PERSON
            for score in rng.random(2):
                moved = np.roll(instances == i, rng.integers(-4, 5, 2), (0, 1))
                detections.append((label, float(score), moved))
        prediction = np.roll(ids, 3, axis=1)
        prediction[22:26] = 24
        samples.append(make_sample(folder, number, prediction, detections))
    return folder, samples


def score(kind, folder, samples, **options):
    return evaluate(kind, samples, META, seg_prefix=str(folder / 'gtFine/val'), **options)


def test_a_perfect_prediction_scores_100_and_leaves_nothing_behind(perfect, monkeypatch):
    folder, samples = perfect
    scratch = folder / 'scratch'
    scratch.mkdir()
    monkeypatch.chdir(scratch)
    monkeypatch.setattr('tempfile.tempdir', str(scratch))
    assert set(score('CityscapesInstance', folder, samples).values()) == {100}
    scores = score('CityscapesSemantic', folder, samples)
    assert set(scores) == {'IoU', 'iIoU', 'IoU_sup', 'iIoU_sup'}
    assert set(scores.values()) == {100}
    assert list(scratch.iterdir()) == []
    assert {path.name for path in folder.iterdir()} == {'gtFine', 'scratch'}


def test_a_wrong_car_before_the_right_one_gives_an_ap_of_25(truth):
    folder, _ = truth
    ids, instances = write_ground_truth(folder, 7, [(26000, box(30, 50, 5, 40))])
    detections = [(CAR, 0.8, instances == 26000), (CAR, 0.9, box(30, 50, 50, 90))]
    scores = score(
        'CityscapesInstance', folder, [make_sample(folder, 7, ids, detections)], classwise=True
    )
    # precision 1/2 at recall 1, then 0 at recall 0: the mean over the step as the scripts take it
    assert scores['AP'] == scores['AP50'] == pytest.approx(25)
    assert scores['per_class'] == dict(car=dict(AP=pytest.approx(25), AP50=pytest.approx(25)))


@pytest.mark.parametrize('mask', [box(60, 64, 0, 96), box(30, 50, 50, 90)], ids=['void', 'group'])
def test_predictions_that_are_all_to_be_ignored_give_0(truth, mask):
    folder, _ = truth
    person = (24000, box(25, 55, 75, 85))
    objects = [person, (26, box(30, 50, 50, 90)), (26000, box(30, 50, 5, 40)), person]
    ids, instances = write_ground_truth(folder, 7, objects)
    detections = [(CAR, 0.9, mask), (PERSON, 0.8, instances == 24000)]
    sample = make_sample(folder, 7, ids, detections)
    scores = score('CityscapesInstance', folder, [sample], classwise=True)
    assert scores['per_class']['car'] == dict(AP=0, AP50=0)
    assert scores['per_class']['person'] == dict(AP=100, AP50=100)


def test_ap_equals_mmdets_metric(flawed):
    folder, samples = flawed
    theirs = METRICS.build(
        dict(
            type='CityScapesMetric',
            outfile_prefix=str(folder / 'theirs'),
            seg_prefix=str(folder / 'gtFine/val'),
        )
    )
    theirs.dataset_meta = META
    theirs.process(None, samples)
    expected = theirs.evaluate(len(samples))
    scores = score('CityscapesInstance', folder, samples)
    assert scores['AP'] == pytest.approx(100 * expected['cityscapes/mAP'])
    assert scores['AP50'] == pytest.approx(100 * expected['cityscapes/AP@50'])
    assert 5 < scores['AP'] < scores['AP50'] < 95


def slow_iou(samples, maps):
    """IoU and iIoU of classes and categories, one mask at a time, after Cityscapes' paper."""
    from cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling import args

    scored = [label for label in labels.labels if not label.ignoreInEval]
    scored_ids = [label.id for label in scored]
    groups = {label.name: [label] for label in scored}, {}
    for label in scored:
        groups[1].setdefault(label.category, []).append(label)
    scores = {}
    for suffix, grouped in zip(('', '_sup'), groups):
        ious, instance_ious = [], []
        for members in grouped.values():
            members_ids = [label.id for label in members]
            found = missed = invented = weighted_found = weighted_missed = 0
            for sample, (ids, instances) in zip(samples, maps):
                prediction = ID_OF_LABEL[sample['pred_sem_seg']['sem_seg'][0].numpy()]
                truth, predicted = np.isin(ids, members_ids), np.isin(prediction, members_ids)
                found += (truth & predicted).sum()
                missed += (truth & ~predicted).sum()
                invented += (~truth & predicted & np.isin(ids, scored_ids)).sum()
                for i in np.unique(instances[truth & (instances > 1000)]):
                    mask = instances == i
                    weight = args.avgClassSize[labels.id2label[i // 1000].name] / mask.sum()
                    weighted_found += weight * (mask & predicted).sum()
                    weighted_missed += weight * (mask & ~predicted).sum()
            if found + missed + invented:
                ious.append(found / (found + missed + invented))
            weighted = weighted_found + weighted_missed + invented
            if all(label.hasInstances for label in members) and weighted:
                instance_ious.append(weighted_found / weighted)
        scores[f'IoU{suffix}'] = 100 * np.mean(ious)
        scores[f'iIoU{suffix}'] = 100 * np.mean(instance_ious)
    return scores


def test_iou_equals_a_plain_loop(flawed, truth):
    folder, samples = flawed
    scores = score('CityscapesSemantic', folder, samples, classwise=True)
    per_class = scores.pop('per_class')
    assert scores == pytest.approx(slow_iou(samples, truth[1]))
    assert 5 < scores['IoU'] < 95
    assert set(per_class) == {'road', 'sky', 'person', 'car'}
    assert np.mean([row['IoU'] for row in per_class.values()]) == pytest.approx(scores['IoU'])
    assert np.isnan(per_class['sky']['iIoU']) and per_class['car']['iIoU'] > 0


def test_cityscapesscripts_scores_the_written_submission_the_same(flawed, monkeypatch):
    from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as instance_script
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as semantic_script

    folder, samples = flawed
    monkeypatch.chdir(folder)  # where the script writes its matches
    for kind in ('CityscapesInstanceFiles', 'CityscapesSemanticFiles'):
        evaluate(kind, samples, META, out_dir=str(folder / 'submission'))
    results = {}
    for script, kind, files in (
        (instance_script, 'instanceIds', 'cityscapes_instance'),
        (semantic_script, 'labelIds', 'cityscapes_semantic'),
    ):
        args = copy(script.args)
        args.quiet, args.JSONOutput, args.predictionWalk = True, False, None
        args.predictionPath = str(folder / 'submission' / files)
        args.gtInstancesFile = str(folder / 'gtInstances.json')
        truths = sorted(map(str, folder.glob(f'gtFine/val/*/*_{kind}.png')))
        find = (args,) if kind == 'labelIds' else ()
        predictions = [
            script.getPrediction(*find, truth, *(() if find else (args,))) for truth in truths
        ]
        results[kind] = script.evaluateImgLists(predictions, truths, args)
    averages = results['instanceIds']['averages']
    scores = score('CityscapesInstance', folder, samples)
    assert scores == pytest.approx(
        dict(AP=100 * averages['allAp'], AP50=100 * float(averages['allAp50%']))
    )
    semantic = results['labelIds']
    assert score('CityscapesSemantic', folder, samples) == pytest.approx(
        dict(
            IoU=100 * semantic['averageScoreClasses'],
            iIoU=100 * semantic['averageScoreInstClasses'],
            IoU_sup=100 * semantic['averageScoreCategories'],
            iIoU_sup=100 * semantic['averageScoreInstCategories'],
        )
    )


@pytest.mark.parametrize('kind', ['CityscapesInstance', 'CityscapesSemantic'])
def test_what_is_missing_is_named(kind, perfect, monkeypatch):
    folder, samples = perfect
    with pytest.raises(FileNotFoundError, match=r'elsewhere.*_gtFine_.*does not exist.*seg_prefix'):
        evaluate(kind, samples, META, seg_prefix=str(folder / 'elsewhere'))
    renamed = dict(samples[0], img_path='image.png')
    with pytest.raises(ValueError, match='image aachen_000000_000019 .*_leftImg8bit.png'):
        score(kind, folder, [renamed])
    strangers = dict(META, classes=('unicorn', *META['classes'][1:]))
    with pytest.raises(ValueError, match=r"\['unicorn'\] are not classes of Cityscapes"):
        evaluate(kind, samples, strangers, seg_prefix=str(folder / 'gtFine/val'))
    monkeypatch.setitem(sys.modules, 'cityscapesscripts.helpers.labels', None)
    with pytest.raises(ImportError, match='pip install'):
        METRICS.build(dict(type=kind, seg_prefix='gtFine/val'))
