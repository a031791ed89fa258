"""Scores where images say what was looked for: by LVIS's rules, as plain loops have it."""

import json

import numpy as np
import pytest
import torch
from evaluation_peer import (
    BIRD,
    CAT,
    CLASSES,
    DOG,
    GRASS,
    META,
    SKY,
    draw,
    evaluate,
    hotcoco_counts,
    instance_json,
    make_sample,
    random_scene,
    scene_of,
    segment,
)
from mmdet.evaluation.functional import INSTANCE_OFFSET

from oneformer.evaluation.panoptic_quality import class_quality

K = len(CLASSES)


def say_what_was_searched(sample, rng):
    """Some classes are known, all annotated ones among them, of which some only in part."""
    annotated = {s['label'] for s in sample['segments_info']}
    known = annotated | {k for k in range(K) if rng.random() < 0.4}
    searched = {k for k in known if k not in annotated or rng.random() < 0.6}
    sample.update(known_labels=tuple(sorted(known)), searched_labels=tuple(sorted(searched)))
    return sample


def scenes(number, crowds=True):
    """Samples, of which every fourth says nothing."""
    rng = np.random.default_rng(3)
    samples = []
    for i in range(number):
        gt_map, segments, predicted = random_scene(rng)
        for info in segments:
            info['iscrowd'] = info['iscrowd'] and crowds
        sample = make_sample(gt_map, segments, predicted, i + 1)
        samples.append(sample if i % 4 == 3 else say_what_was_searched(sample, rng))
    return samples


def without_words(samples):
    """The same samples, which say nothing of what was looked for."""
    return [{k: v for k, v in s.items() if not k.endswith('_labels')} for s in samples]


def known_of(sample):
    """Known and searched labels."""
    every = tuple(range(K))
    return set(sample.get('known_labels', every)), set(sample.get('searched_labels', every))


def overlaps(sample, label):
    """Scores of the detections of a class, the best first, and IoUs with its objects."""
    gt_map = sample['gt_panoptic_seg']['sem_seg'][0].numpy()
    truth = [gt_map == k for k, s in enumerate(sample['segments_info'], 1) if s['label'] == label]
    found = sample['pred_instances']
    own = [i for i, other in enumerate(found['labels'].tolist()) if other == label]
    own.sort(key=lambda i: -found['scores'][i].item())
    masks = [found['masks'][i].numpy() for i in own]
    ious = [[(a & b).sum() / max((a | b).sum(), 1) for b in truth] for a in masks]
    return [found['scores'][i].item() for i in own], ious, len(truth)


def slow_ap(samples, label, threshold):
    """AP of a class at a threshold by LVIS's rules; None without ground truth."""
    detections, total = [], 0  # score, right
    for sample in samples:
        known, searched = known_of(sample)
        scores, ious, count = overlaps(sample, label)
        total += count
        if label not in known:
            continue
        taken = set()
        for score, row in zip(scores, ious):
            free = [i for i in range(count) if i not in taken and row[i] >= threshold]
            best = max(free, key=lambda i: (row[i], i), default=None)
            if best is not None:
                taken.add(best)
                detections.append((score, True))
            elif label in searched:
                detections.append((score, False))
    if not total:
        return None
    detections.sort(key=lambda one: -one[0])
    right = np.cumsum([good for _, good in detections])
    precision = right / np.arange(1, len(detections) + 1)
    recall = right / total
    return np.mean([max(precision[recall >= r], default=0) for r in np.linspace(0, 1, 101)])


def slow_aps(samples):
    """AP and AP50 in percent."""
    thresholds = np.linspace(0.5, 0.95, 10)
    table = [[slow_ap(samples, label, t) for t in thresholds] for label in (CAT, DOG, BIRD)]
    table = 100 * np.array([row for row in table if row[0] is not None])
    return dict(AP=table.mean(), AP50=table[:, 0].mean())


def test_ap_follows_the_rules_of_lvis():
    samples = scenes(40, crowds=False)
    scores = evaluate('InstanceAP', samples)
    expected = slow_aps(samples)
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=1e-9)
    # each of the rules matters
    silent = without_words(samples)
    assert evaluate('InstanceAP', silent)['AP'] < scores['AP'] - 1
    said = [s for s in samples if 'known_labels' in s]
    whole = [dict(s, searched_labels=s['known_labels']) for s in said]
    said = evaluate('InstanceAP', said)
    assert evaluate('InstanceAP', whole)['AP'] < said['AP'] - 0.1


def test_an_official_file_says_what_was_searched(tmp_path):
    samples = scenes(20, crowds=False)
    truth, _ = instance_json(samples, META)
    for image, sample in zip(truth['images'], samples):
        if 'known_labels' in sample:
            known, searched = (set(sample[f'{name}_labels']) for name in ('known', 'searched'))
            things = {META['classes'].index(name) for name in META['thing_classes']}
            annotated = {s['label'] for s in sample['segments_info']}
            image.update(
                neg_category_ids=[k + 1 for k in (known & things) - annotated],
                not_exhaustive_category_ids=[k + 1 for k in (known - searched) & things],
            )
    (tmp_path / 'lvis.json').write_text(json.dumps(truth))
    official = evaluate('InstanceAP', samples, ann_file=str(tmp_path / 'lvis.json'))
    ours = evaluate('InstanceAP', samples)
    np.testing.assert_equal(official, ours)
    # the file counts, and not what the samples say
    silent = without_words(samples)
    np.testing.assert_equal(
        evaluate('InstanceAP', silent, ann_file=str(tmp_path / 'lvis.json')), official
    )
    for image in truth['images']:
        image.update(neg_category_ids=None, not_exhaustive_category_ids=None)
    (tmp_path / 'coco.json').write_text(json.dumps(truth))
    full = evaluate('InstanceAP', samples, ann_file=str(tmp_path / 'coco.json'))
    np.testing.assert_equal(full, evaluate('InstanceAP', silent))
    image['neg_category_ids'] = [77]
    (tmp_path / 'coco.json').write_text(json.dumps(truth))
    with pytest.raises(ValueError, match='coco.json: image id 20 has 77 in its neg_category_ids'):
        evaluate('InstanceAP', samples, ann_file=str(tmp_path / 'coco.json'))


def test_panoptic_quality_counts_no_prediction_of_what_was_not_searched_for(tmp_path):
    samples, counts = scenes(40), np.zeros((K, 4))
    forgiven = 0
    for sample in samples:
        own = hotcoco_counts([scene_of(sample)], META, tmp_path / str(sample['img_id']))
        others = [k for k in range(K) if k not in known_of(sample)[1]]
        forgiven += own[others, 1].sum()
        own[others, 1] = 0
        counts += own
    assert forgiven > 10
    scores = evaluate('PanopticQuality', samples, classwise=True)
    assert scores['PQ'] == pytest.approx(np.nanmean(class_quality(counts)[:, 0]), abs=1e-9)
    for label, name in enumerate(CLASSES):
        row = scores['per_class'][name]
        assert [row[key] for key in ('TP', 'FP', 'FN')] == counts[label, :3].tolist()


def slow_miou(samples):
    """mIoU in percent, one set of pixels at a time."""
    right, predicted, labelled = (np.zeros(K) for _ in range(3))
    for sample in samples:
        gt_map = sample['gt_panoptic_seg']['sem_seg'][0].numpy()
        labels = np.array([-1, *(s['label'] for s in sample['segments_info'])])[gt_map]
        prediction = sample['pred_sem_seg']['sem_seg'][0].numpy()
        for k in range(K):
            right[k] += np.sum((labels == k) & (prediction == k))
            labelled[k] += np.sum(labels == k)
            counted = labels >= 0 if k in known_of(sample)[1] else labels == k
            predicted[k] += np.sum(counted & (prediction == k))
    occurs = predicted + labelled > 0
    return 100 * np.mean(right[occurs] / (predicted + labelled - right)[occurs])


def test_miou_counts_no_prediction_of_what_was_not_searched_for():
    samples = scenes(40)
    scores = evaluate('SemanticIoU', samples)
    assert scores['mIoU'] == pytest.approx(slow_miou(samples), abs=1e-9)
    silent = without_words(samples)
    assert evaluate('SemanticIoU', silent)['mIoU'] < scores['mIoU'] - 1


MAP = draw('1111....', '1111....', '1111....', '2222....')
LEFT, CORNER = MAP == 1, (np.arange(8) > 4) & (np.arange(4)[:, None] > 1)
FOUND = [(CAT, LEFT, 0.6), (DOG, MAP == 2, 0.5)]


def two_images(*extra):
    """A cat and a dog in each; in the first nobody looked for birds. Extra is found in it, too."""
    segments = [segment(CAT), segment(DOG)]
    others = (GRASS, SKY)
    first = make_sample(MAP, segments, [*FOUND, *extra], 1)
    first.update(known_labels=(CAT, DOG, *others), searched_labels=(CAT, DOG, *others))
    second = make_sample(MAP, segments, FOUND, 2)
    second.update(known_labels=tuple(range(K)), searched_labels=tuple(range(K)))
    return first, second


@pytest.mark.parametrize('metric', ['InstanceAP', 'PanopticQuality', 'SemanticIoU'])
def test_predicting_what_nobody_looked_for_costs_nothing(metric):
    expected = evaluate(metric, two_images())
    found = evaluate(metric, two_images((BIRD, CORNER, 0.9)))
    np.testing.assert_equal(found, expected)
    headline = dict(InstanceAP='AP', PanopticQuality='PQ', SemanticIoU='mIoU')[metric]
    assert expected[headline] == 100


def test_predicting_what_was_looked_for_in_vain_costs():
    first, second = two_images((BIRD, CORNER, 0.9))
    first.update(known_labels=second['known_labels'], searched_labels=second['known_labels'])
    # a bird on labelled pixels, since void forgives in PQ
    first['pred_panoptic_seg']['sem_seg'][0, :3, :2] = BIRD + 9 * INSTANCE_OFFSET
    assert evaluate('PanopticQuality', [first, second], classwise=True)['per_class'][
        'bird'
    ] == dict(PQ=0, SQ=0, RQ=0, TP=0, FP=1, FN=0)
    more = dict(second, segments_info=[segment(CAT), segment(BIRD)])
    scores = evaluate('InstanceAP', [first, more], classwise=True)['per_class']
    assert scores['bird']['AP'] == 0
    first.update(known_labels=(CAT, DOG), searched_labels=(CAT, DOG))
    found = torch.tensor([CAT, BIRD])
    more = dict(more, pred_instances=dict(more['pred_instances'], labels=found))
    scores = evaluate('InstanceAP', [first, more], classwise=True)['per_class']
    assert scores['bird']['AP'] == pytest.approx(100)


def test_of_a_class_that_is_annotated_in_part_only_what_matches_counts():
    first, second = two_images((CAT, CORNER, 0.9))
    assert evaluate('InstanceAP', [first, second])['AP'] < 99
    first['searched_labels'] = (DOG,)
    assert evaluate('InstanceAP', [first, second])['AP'] == pytest.approx(100)
    # a cat that is annotated and missed is missed
    kept = {key: value[1:] for key, value in first['pred_instances'].items()}
    missed = dict(first, pred_instances=kept)
    assert evaluate('InstanceAP', [missed, second])['AP'] < 99
