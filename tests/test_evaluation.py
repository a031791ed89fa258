"""The metrics against hotcoco, pycocotools and a loop, on drawings and random maps."""

import itertools

import numpy as np
import pytest
from evaluation_peer import (
    CAT,
    CLASSES,
    DOG,
    GRASS,
    META,
    SKY,
    draw,
    evaluate,
    hotcoco_counts,
    make_sample,
    panoptic_prediction,
    pycocotools_scores,
    random_scene,
    segment,
    slow_semantic_scores,
    write_panoptic,
)
from hotcoco.panoptic import pq_compute
from mmdet.registry import METRICS
from mmengine.evaluator import Evaluator

from oneformer.evaluation.panoptic_quality import panoptic_counts
from oneformer.panoptic_codes import INSTANCE_OFFSET


@pytest.fixture
def count(tmp_path):
    """Counts per class of an image, as hotcoco has them, too."""
    numbers = itertools.count()

    def count(gt_map, segments, pred_map):
        counts = panoptic_counts(gt_map, segments, pred_map, len(CLASSES))
        scene, folder = (gt_map, segments, pred_map), tmp_path / f'image_{next(numbers)}'
        np.testing.assert_allclose(counts, hotcoco_counts([scene], META, folder), rtol=1e-12)
        return counts

    return count


def test_panoptic_counts_equal_those_of_hotcoco_on_random_maps(count):
    rng = np.random.default_rng(0)
    total = np.zeros(3)
    for _ in range(300):
        gt_map, segments, predicted = random_scene(rng)
        pred_map = panoptic_prediction(predicted, gt_map.shape, len(CLASSES))
        total += count(gt_map, segments, pred_map)[:, :3].sum(0)
    assert (total > 100).all()  # matches, false alarms and misses all occurred


def test_hotcoco_wants_a_prediction_for_every_image_and_has_no_nan(tmp_path):
    gt_map, segments = draw('1122'), [segment(CAT), segment(SKY)]
    paths = write_panoptic([(gt_map, segments, np.full((1, 4), DOG))], META, tmp_path / 'a')
    judged = pq_compute(*paths)['per_class'][GRASS + 1]
    assert judged == dict(pq=-1, sq=-1, rq=-1, iou=0, tp=0, fp=0, fn=0)  # ours has nan
    (tmp_path / 'a/predicted.json').write_text('{"annotations": []}')
    with pytest.raises(ValueError, match='image'):  # ours: test_a_missing_field_is_named...
        pq_compute(*paths)


def test_a_perfect_prediction_has_panoptic_quality_100_and_an_empty_one_0():
    gt_map, segments = draw('1122', '1133'), [segment(CAT), segment(CAT), segment(SKY)]
    perfect = [(s['label'], gt_map == k, 0.9) for k, s in enumerate(segments, 1)]
    scores = evaluate('PanopticQuality', [make_sample(gt_map, segments, perfect)])
    assert set(scores) == {f'{q}{s}' for q in ('PQ', 'SQ', 'RQ') for s in ('', '_th', '_st')}
    assert set(scores.values()) == {100.0}
    scores = evaluate('PanopticQuality', [make_sample(gt_map, segments)])
    assert set(scores.values()) == {0.0}


def test_a_prediction_half_on_void_is_wrong_and_one_more_pixel_forgives_it(count):
    segments = [segment(GRASS)]
    gt_map = draw('111111....')
    for covered, wrong in ((slice(3, 9), 1), (slice(3, 10), 0)):  # 3 + 3 and 3 + 4 pixels
        pred_map = np.full((1, 10), len(CLASSES))
        pred_map[0, covered] = DOG
        counts = count(gt_map, segments, pred_map)
        assert counts[DOG].tolist() == [0, wrong, 0, 0]
        assert counts[GRASS].tolist() == [0, 0, 1, 0]


def test_void_is_left_out_of_the_union(count):
    gt_map = draw('1111......')
    pred_map = np.full((1, 10), DOG + INSTANCE_OFFSET)
    counts = count(gt_map, [segment(DOG)], pred_map)
    assert counts[DOG].tolist() == [1, 0, 0, 1.0]


def test_the_area_that_the_annotation_states_decides(count):
    gt_map = draw('11111222..')  # five pixels of grass, which was ten before the dog lay on it
    pred_map = np.where(gt_map == 1, GRASS, len(CLASSES))
    for area, match in ((None, 1), (9, 5 / 9), (10, 0)):
        segments = [segment(GRASS), segment(DOG)]
        if area is not None:
            segments[0]['area'] = area
        counts = count(gt_map, segments, pred_map)
        expected = [1, 0, 0, match] if match else [0, 1, 1, 0]
        assert counts[GRASS].tolist() == pytest.approx(expected)


def test_crowd_forgives_its_own_class_only_and_is_never_missed(count):
    gt_map, segments = draw('1111222'), [segment(DOG, crowd=True), segment(SKY)]
    for label, wrong in ((DOG, 0), (CAT, 1)):
        pred_map = np.full((1, 7), label + INSTANCE_OFFSET)
        counts = count(gt_map, segments, pred_map)
        assert counts[label].tolist() == [0, wrong, 0, 0]


def test_of_two_crowd_segments_of_a_class_the_last_listed_one_forgives(count):
    gt_map, segments = draw('1112222'), [segment(DOG, crowd=True), segment(DOG, crowd=True)]
    for covered, wrong in ((slice(0, 3), 1), (slice(3, 7), 0)):
        pred_map = np.full((1, 7), len(CLASSES))
        pred_map[0, covered] = DOG + INSTANCE_OFFSET
        assert count(gt_map, segments, pred_map)[DOG, 1] == wrong


def test_a_listed_segment_without_pixels_is_a_miss(count):
    gt_map, segments = draw('11'), [segment(CAT), segment(SKY)]
    pred_map = np.full((1, 2), CAT + INSTANCE_OFFSET)
    counts = count(gt_map, segments, pred_map)
    assert counts[CAT].tolist() == [1, 0, 0, 1.0]
    assert counts[SKY].tolist() == [0, 0, 1, 0]


def test_a_split_in_which_no_class_occurs_has_no_panoptic_quality():
    gt_map, segments = draw('11'), [segment(CAT)]
    sample = make_sample(gt_map, segments, [(CAT, gt_map == 1, 0.9)])
    scores = evaluate('PanopticQuality', [sample])
    assert scores['PQ'] == scores['PQ_th'] == 100
    assert np.isnan([scores['PQ_st'], scores['SQ_st'], scores['RQ_st']]).all()
    nothing = dict(META, thing_classes=())
    assert np.isnan(evaluate('PanopticQuality', [sample], nothing)['PQ_th'])


def test_classwise_logs_one_row_per_class_that_occurs(monkeypatch):
    logged = []
    monkeypatch.setattr(
        'oneformer.evaluation.classwise.print_log',
        lambda message, logger: logged.append(message),
    )
    gt_map = draw('1122')
    sample = make_sample(gt_map, [segment(CAT), segment(SKY)], [(CAT, gt_map == 1, 0.9)])
    evaluate('PanopticQuality', [sample], classwise=True)
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in logged[0].splitlines()
        if line.startswith('|')
    ]
    assert rows[1:] == [
        ['cat', '100.00', '100.00', '100.00', '1', '0', '0'],
        ['sky', '0.00', '0.00', '0.00', '0', '0', '1'],
    ]


def test_ap_equals_pycocotools_with_crowd_on_random_maps(tmp_path):
    rng = np.random.default_rng(1)
    samples = [make_sample(*random_scene(rng), img_id=i) for i in range(40)]
    scores = evaluate('InstanceAP', samples)
    assert scores == pytest.approx(pycocotools_scores(samples, META, tmp_path), nan_ok=True)
    assert 5 < scores['AP'] < 95
    assert np.isnan(scores['AP_l'])  # nothing is larger than 96 x 96 here


def test_a_perfect_prediction_has_ap_100_also_for_the_first_annotation():
    gt_map, segments = draw('1122', '1122'), [segment(CAT), segment(SKY)]
    sample = make_sample(gt_map, segments, [(CAT, gt_map == 1, 0.9), (SKY, gt_map == 2, 0.9)])
    assert evaluate('InstanceAP', [sample])['AP'] == pytest.approx(100)


def test_a_confident_empty_mask_lowers_ap_as_in_pycocotools(tmp_path):
    gt_map, segments = draw('1122', '1122'), [segment(CAT), segment(SKY)]
    prediction = [(CAT, gt_map == 1, 0.8), (CAT, gt_map == 9, 0.9)]
    sample = make_sample(gt_map, segments, prediction)
    scores = evaluate('InstanceAP', [sample])
    assert scores == pytest.approx(pycocotools_scores([sample], META, tmp_path), nan_ok=True)
    assert scores['AP'] == pytest.approx(50)


def test_ap_counts_no_more_than_max_dets_of_a_class():
    gt_map, segments = draw('1122', '1122'), [segment(CAT), segment(SKY)]
    wrong = gt_map == 2
    prediction = [(CAT, wrong, 0.9), (CAT, wrong, 0.8), (CAT, gt_map == 1, 0.7)]
    sample = make_sample(gt_map, segments, prediction)
    assert evaluate('InstanceAP', [sample], max_dets=2)['AP'] == 0
    assert evaluate('InstanceAP', [sample], max_dets=3)['AP'] == pytest.approx(100 / 3)


def test_without_detections_ap_is_0_and_without_ground_truth_it_is_nan():
    gt_map = draw('11')
    assert evaluate('InstanceAP', [make_sample(gt_map, [segment(CAT)])])['AP'] == 0
    stuff_only = make_sample(gt_map, [segment(SKY)], [(CAT, gt_map == 1, 0.9)])
    assert np.isnan(list(evaluate('InstanceAP', [stuff_only]).values())).all()


def test_an_instance_with_a_stuff_label_is_an_error():
    sample = make_sample(draw('11'), [segment(CAT)], [(CAT, draw('11') == 1, 0.9)])
    sample['pred_instances']['labels'][0] = SKY
    with pytest.raises(ValueError, match=r'image 1 \(1.jpg\).*labels has \[1\].*thing_classes'):
        evaluate('InstanceAP', [sample])


def test_semantic_iou_equals_a_plain_confusion_matrix_on_random_maps():
    rng = np.random.default_rng(2)
    samples = [make_sample(*random_scene(rng)) for _ in range(60)]
    for group in (samples, *([s] for s in samples if s['gt_panoptic_seg']['sem_seg'].any())):
        scores = evaluate('SemanticIoU', group)
        assert scores == pytest.approx(slow_semantic_scores(group, META), nan_ok=True)


def test_semantic_iou_counts_crowd_with_its_class_and_ignores_void():
    gt_map, segments = draw('1122..'), [segment(CAT, crowd=True), segment(SKY)]
    sample = make_sample(gt_map, segments, [(CAT, gt_map == 1, 0.9), (SKY, gt_map != 1, 0.9)])
    scores = evaluate('SemanticIoU', [sample])
    assert set(scores.values()) == {100} and len(scores) == 6


def test_a_class_that_is_only_predicted_lowers_miou_but_not_macc():
    gt_map, segments = draw('1111'), [segment(SKY)]
    sample = make_sample(gt_map, segments, [(SKY, draw('1110') == 1, 0.9)])
    sample['pred_sem_seg']['sem_seg'][0, 0, 3] = GRASS
    scores = evaluate('SemanticIoU', [sample])
    assert np.isnan(scores.pop('mIoU_th'))
    assert scores == dict(mIoU=37.5, mIoU_st=37.5, fwIoU=75, mACC=75, pACC=75)


def test_an_image_without_labelled_pixels_has_no_semantic_scores():
    scores = evaluate('SemanticIoU', [make_sample(draw('..'), [segment(CAT)])])
    assert np.isnan(list(scores.values())).all()


METRIC_TYPES = ('PanopticQuality', 'InstanceAP', 'SemanticIoU')


def test_padded_samples_of_a_distributed_run_are_dropped():
    rng = np.random.default_rng(3)
    samples = [make_sample(*random_scene(rng), img_id=i) for i in range(6)]
    evaluator = Evaluator([METRICS.build(dict(type=name)) for name in METRIC_TYPES])
    evaluator.dataset_meta = META
    for batch in (samples[:2], samples[2:4], samples[4:]):
        evaluator.process(batch)
    scores = evaluator.evaluate(4)
    for name, task in zip(METRIC_TYPES, ('panoptic', 'instance', 'semantic')):
        expected = evaluate(name, samples[:4])
        assert {f'{task}/{k}': v for k, v in expected.items()} == pytest.approx(
            {k: v for k, v in scores.items() if k.startswith(task)}, nan_ok=True
        )


@pytest.mark.parametrize(
    'metric_type, field',
    [
        *((name, 'gt_panoptic_seg') for name in METRIC_TYPES),
        *((name, 'segments_info') for name in METRIC_TYPES),
        ('PanopticQuality', 'pred_panoptic_seg'),
        ('InstanceAP', 'pred_instances'),
        ('SemanticIoU', 'pred_sem_seg'),
    ],
)
def test_a_missing_field_is_named_with_its_image_and_remedy(metric_type, field):
    sample = make_sample(draw('11'), [segment(CAT)], img_id=42)
    del sample[field]
    with pytest.raises(ValueError, match=rf'image 42 \(42.jpg\): no field {field}.*: \w+'):
        evaluate(metric_type, [sample])


@pytest.mark.parametrize(
    'metric_type, field, key',
    [
        *((name, 'gt_panoptic_seg', 'sem_seg') for name in METRIC_TYPES),
        ('PanopticQuality', 'pred_panoptic_seg', 'sem_seg'),
        ('InstanceAP', 'pred_instances', 'masks'),
        ('SemanticIoU', 'pred_sem_seg', 'sem_seg'),
    ],
)
def test_a_map_of_another_size_is_an_error(metric_type, field, key):
    sample = make_sample(draw('11'), [segment(CAT)], [(CAT, draw('11') == 1, 0.9)])
    sample[field][key] = sample[field][key].repeat(1, 2, 1)
    with pytest.raises(ValueError, match=f'image 1 .*{field}.*{key}.*(original size|after Resize)'):
        evaluate(metric_type, [sample])


@pytest.mark.parametrize(
    'metric_type, field, value, message',
    [
        (
            'PanopticQuality',
            'pred_panoptic_seg',
            len(CLASSES) + 1,
            'label 6, but there are 5 classes',
        ),
        ('PanopticQuality', 'pred_panoptic_seg', -1, 'pred_panoptic_seg has negative values'),
        ('SemanticIoU', 'pred_sem_seg', len(CLASSES), 'labels are 0 to 4'),
        ('SemanticIoU', 'pred_sem_seg', -1, 'labels are 0 to 4'),
        *((name, 'gt_panoptic_seg', 2, 'segments_info lists 1 segments') for name in METRIC_TYPES),
    ],
)
def test_a_value_out_of_range_is_an_error(metric_type, field, value, message):
    sample = make_sample(draw('11'), [segment(CAT)])
    sample[field]['sem_seg'][0, 0, 0] = value
    with pytest.raises(ValueError, match=f'image 1 .*{message}'):
        evaluate(metric_type, [sample])
