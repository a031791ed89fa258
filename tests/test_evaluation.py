"""The three metrics against plain loops and pycocotools: drawings, random maps, photographs."""

import json

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import Evaluator
from PIL import Image
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import oneformer  # noqa: F401  registers the metrics
from oneformer.evaluation.panoptic_quality import INSTANCE_OFFSET, panoptic_counts

CLASSES = ('cat', 'sky', 'dog', 'grass', 'bird')  # things and stuff interleaved on purpose
META = dict(classes=CLASSES, thing_classes=('cat', 'dog', 'bird'))
CAT, SKY, DOG, GRASS, BIRD = range(5)


def segment(label, crowd=False, meta=META):
    name = meta['classes'][label]
    return dict(
        id=7, label=label, iscrowd=crowd, category=name, isthing=name in meta['thing_classes']
    )


def draw(*rows):
    """A map from text: '.' is 0, other digits are themselves."""
    return np.array([[0 if c == '.' else int(c) for c in row] for row in rows])


def panoptic_answer(predicted, shape, num_classes):
    """Encoded map of [(label, mask, score)], painted in this order; things are numbered from 1."""
    answer = np.full(shape, num_classes)
    for k, (label, mask, _) in enumerate(predicted, 1):
        answer[mask] = label + INSTANCE_OFFSET * k
    return answer


def make_sample(gt_map, segments, predicted=(), img_id=1, meta=META):
    """A data sample with all three answers, made of non-overlapping predicted segments."""
    num_classes = len(meta['classes'])
    panoptic = panoptic_answer(predicted, gt_map.shape, num_classes)
    semantic = panoptic % INSTANCE_OFFSET
    semantic[semantic == num_classes] = 0
    things = [p for p in predicted if meta['classes'][p[0]] in meta['thing_classes']]
    masks = np.stack([mask for _, mask, _ in things]) if things else np.zeros((0, *gt_map.shape))
    return dict(
        img_id=img_id,
        img_path=f'{img_id}.jpg',
        ori_shape=gt_map.shape,
        segments_info=segments,
        gt_panoptic_seg=dict(sem_seg=torch.tensor(gt_map)[None]),
        pred_panoptic_seg=dict(sem_seg=torch.tensor(panoptic)[None]),
        pred_sem_seg=dict(sem_seg=torch.tensor(semantic)[None]),
        pred_instances=dict(
            labels=torch.tensor([p[0] for p in things], dtype=torch.int64),
            scores=torch.tensor([p[2] for p in things], dtype=torch.float32),
            masks=torch.tensor(masks, dtype=torch.bool),
        ),
    )


def perturb(gt_map, segments, rng, num_classes):
    """Segments as a flawed model would predict them: kept, moved, dropped, relabelled, split."""
    predicted = []
    for k in rng.permutation(len(segments)):
        label, mask = segments[k]['label'], gt_map == k + 1
        fate = rng.choice(
            ['keep', 'move', 'drop', 'relabel', 'split', 'merge'], p=[0.2, 0.4, 0.1, 0.1, 0.1, 0.1]
        )
        if not mask.any() or fate == 'drop':
            continue
        if fate == 'move':
            mask = np.roll(mask, rng.integers(-3, 4, size=2), axis=(0, 1))
        elif fate == 'relabel':
            label = int(rng.integers(num_classes))
        elif fate == 'merge':
            mask = mask | (gt_map == rng.integers(len(segments) + 1))
        parts = [mask]
        if fate == 'split':
            left = np.arange(mask.shape[1]) < rng.choice(np.nonzero(mask)[1])
            parts = [part for part in (mask & left, mask & ~left) if part.any()]
        predicted += [(label, part, float(rng.random())) for part in parts]
    return predicted


def random_scene(rng, meta=META):
    """A small map of blobs with void, crowd and now and then a listed segment without pixels."""
    segments = [
        segment(int(rng.integers(len(CLASSES))), bool(rng.random() < 0.25), meta)
        for _ in range(rng.integers(0, 9))
    ]
    blobs = rng.integers(0, len(segments) + 1, size=(4, 5))
    gt_map = np.kron(blobs, np.ones((6, 6), dtype=int))
    return gt_map, segments, perturb(gt_map, segments, rng, len(CLASSES))


def photographs(shared_dir):
    """COCO photographs' official annotation with flawed predictions: metainfo and data samples."""
    root = shared_dir / 'data' / 'coco_panoptic_tiny'
    if not root.exists():
        pytest.skip(f'{root} is not there')
    annotation = json.loads((root / 'panoptic_tiny.json').read_text())
    categories = annotation['categories']
    meta = dict(
        classes=tuple(c['name'] for c in categories),
        thing_classes=tuple(c['name'] for c in categories if c['isthing']),
    )
    label_of = {c['id']: label for label, c in enumerate(categories)}
    rng = np.random.default_rng(0)
    samples = []
    for image in sorted(annotation['annotations'], key=lambda a: a['image_id']):
        png = np.array(Image.open(root / 'panoptic' / image['file_name'])).astype(int)
        ids = png @ [1, 256, 65536]
        gt_map, segments = np.zeros_like(ids), []
        for k, info in enumerate(image['segments_info'], 1):
            gt_map[ids == info['id']] = k
            segments.append(segment(label_of[info['category_id']], bool(info['iscrowd']), meta))
        predicted = perturb(gt_map, segments, rng, len(categories))
        samples.append(make_sample(gt_map, segments, predicted, image['image_id'], meta))
    return meta, samples


def evaluate(metric_type, samples, meta=META, **kwargs):
    metric = METRICS.build(dict(type=metric_type, **kwargs))
    metric.dataset_meta = meta
    for sample in samples:
        metric.process(None, [sample])
    assert len(metric.results) == len(samples)
    scores = metric.evaluate(len(samples))
    assert all(key.startswith(f'{metric.task}/') for key in scores)
    return {key.split('/')[1]: value for key, value in scores.items()}


def slow_panoptic_counts(gt_map, segments, pred_map, num_classes):
    """panopticapi's rules, one boolean mask per segment."""
    counts = np.zeros((num_classes, 4))
    predicted = {
        v: pred_map == v
        for v in set(pred_map.ravel().tolist())
        if v % INSTANCE_OFFSET != num_classes
    }
    void = gt_map == 0
    found, used = set(), set()
    for k, info in enumerate(segments, 1):
        for v, mask in predicted.items():
            if info['iscrowd'] or info['label'] != v % INSTANCE_OFFSET:
                continue
            both = np.sum(mask & (gt_map == k))
            union = np.sum(mask) + np.sum(gt_map == k) - both - np.sum(mask & void)
            if both and both / union > 0.5:
                counts[info['label'], 0] += 1
                counts[info['label'], 3] += both / union
                found.add(k)
                used.add(v)
    crowd_of_class = {}
    for k, info in enumerate(segments, 1):
        if info['iscrowd']:
            crowd_of_class[info['label']] = gt_map == k
        elif k not in found:
            counts[info['label'], 2] += 1
    for v, mask in predicted.items():
        label = v % INSTANCE_OFFSET
        if v in used:
            continue
        excused = np.sum(mask & void)
        if label in crowd_of_class:
            excused += np.sum(mask & crowd_of_class[label])
        if excused / np.sum(mask) <= 0.5:
            counts[label, 1] += 1
    return counts


def test_panoptic_counts_equal_a_plain_loop_on_random_maps():
    rng = np.random.default_rng(0)
    total = np.zeros(3)
    for _ in range(300):
        gt_map, segments, predicted = random_scene(rng)
        pred_map = panoptic_answer(predicted, gt_map.shape, len(CLASSES))
        counts = panoptic_counts(gt_map, segments, pred_map, len(CLASSES))
        np.testing.assert_allclose(
            counts, slow_panoptic_counts(gt_map, segments, pred_map, len(CLASSES)), rtol=1e-12
        )
        total += counts[:, :3].sum(0)
    assert (total > 100).all()  # matches, false alarms and misses all occurred


def test_panoptic_quality_of_photographs_equals_a_plain_loop(shared_dir):
    meta, samples = photographs(shared_dir)
    num_classes = len(meta['classes'])
    counts = sum(
        slow_panoptic_counts(
            s['gt_panoptic_seg']['sem_seg'][0].numpy(),
            s['segments_info'],
            s['pred_panoptic_seg']['sem_seg'][0].numpy(),
            num_classes,
        )
        for s in samples
    )
    rows = {'': [], '_th': [], '_st': []}
    for name, (tp, fp, fn, iou) in zip(meta['classes'], counts):
        if tp + fp + fn:
            effort = tp + fp / 2 + fn / 2
            row = 100 * iou / effort, 100 * iou / tp if tp else 0, 100 * tp / effort
            rows[''].append(row)
            rows['_th' if name in meta['thing_classes'] else '_st'].append(row)
    expected = {
        f'{key}{suffix}': np.mean(values, axis=0)[i]
        for suffix, values in rows.items()
        for i, key in enumerate(('PQ', 'SQ', 'RQ'))
    }
    scores = evaluate('PanopticQuality', samples, meta)
    assert scores == pytest.approx(expected)
    assert 5 < scores['PQ'] < 95


def test_a_perfect_answer_has_panoptic_quality_100_and_an_empty_one_0():
    gt_map, segments = draw('1122', '1133'), [segment(CAT), segment(CAT), segment(SKY)]
    perfect = [(s['label'], gt_map == k, 0.9) for k, s in enumerate(segments, 1)]
    scores = evaluate('PanopticQuality', [make_sample(gt_map, segments, perfect)])
    assert set(scores) == {f'{q}{s}' for q in ('PQ', 'SQ', 'RQ') for s in ('', '_th', '_st')}
    assert set(scores.values()) == {100.0}
    scores = evaluate('PanopticQuality', [make_sample(gt_map, segments)])
    assert set(scores.values()) == {0.0}


def test_a_prediction_half_on_void_is_wrong_and_one_more_pixel_forgives_it():
    segments = [segment(GRASS)]
    gt_map = draw('111111....')
    for covered, wrong in ((slice(3, 9), 1), (slice(3, 10), 0)):  # 3 + 3 and 3 + 4 pixels
        pred_map = np.full((1, 10), len(CLASSES))
        pred_map[0, covered] = DOG
        counts = panoptic_counts(gt_map, segments, pred_map, len(CLASSES))
        assert counts[DOG].tolist() == [0, wrong, 0, 0]
        assert counts[GRASS].tolist() == [0, 0, 1, 0]


def test_void_is_left_out_of_the_union():
    gt_map = draw('1111......')
    pred_map = np.full((1, 10), DOG + INSTANCE_OFFSET)
    counts = panoptic_counts(gt_map, [segment(DOG)], pred_map, len(CLASSES))
    assert counts[DOG].tolist() == [1, 0, 0, 1.0]


def test_crowd_forgives_its_own_class_only_and_is_never_missed():
    gt_map, segments = draw('1111222'), [segment(DOG, crowd=True), segment(SKY)]
    for label, wrong in ((DOG, 0), (CAT, 1)):
        pred_map = np.full((1, 7), label + INSTANCE_OFFSET)
        counts = panoptic_counts(gt_map, segments, pred_map, len(CLASSES))
        assert counts[label].tolist() == [0, wrong, 0, 0]


def test_of_two_crowd_segments_of_a_class_the_last_listed_one_forgives():
    gt_map, segments = draw('1112222'), [segment(DOG, crowd=True), segment(DOG, crowd=True)]
    for covered, wrong in ((slice(0, 3), 1), (slice(3, 7), 0)):
        pred_map = np.full((1, 7), len(CLASSES))
        pred_map[0, covered] = DOG + INSTANCE_OFFSET
        assert panoptic_counts(gt_map, segments, pred_map, len(CLASSES))[DOG, 1] == wrong


def test_a_listed_segment_without_pixels_is_a_miss():
    gt_map, segments = draw('11'), [segment(CAT), segment(SKY)]
    pred_map = np.full((1, 2), CAT + INSTANCE_OFFSET)
    counts = panoptic_counts(gt_map, segments, pred_map, len(CLASSES))
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


def pycocotools_scores(samples, meta, folder):
    """COCOeval.summarize on instance files, written as one would by hand."""

    def rle(mask):
        code = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
        return dict(size=code['size'], counts=code['counts'].decode())

    images, annotations, detections = [], [], []
    for sample in samples:
        height, width = sample['ori_shape']
        images.append(dict(id=sample['img_id'], height=height, width=width))
        gt_map = sample['gt_panoptic_seg']['sem_seg'][0].numpy()
        for k, info in enumerate(sample['segments_info'], 1):
            if info['isthing']:
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=sample['img_id'],
                        category_id=info['label'] + 1,
                        iscrowd=int(info['iscrowd']),
                        area=int((gt_map == k).sum()),
                        segmentation=rle(gt_map == k),
                    )
                )
        instances = sample['pred_instances']
        for label, score, mask in zip(*(instances[k] for k in ('labels', 'scores', 'masks'))):
            detections.append(
                dict(
                    image_id=sample['img_id'],
                    category_id=int(label) + 1,
                    score=float(score),
                    segmentation=rle(mask.numpy()),
                )
            )
    categories = [
        dict(id=meta['classes'].index(name) + 1, name=name) for name in meta['thing_classes']
    ]
    (folder / 'gt.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )
    (folder / 'answers.json').write_text(json.dumps(detections))
    truth = COCO(str(folder / 'gt.json'))
    evaluation = COCOeval(truth, truth.loadRes(str(folder / 'answers.json')), 'segm')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    names = ('AP', 'AP50', 'AP75', 'AP_s', 'AP_m', 'AP_l')
    return {name: 100 * s if s > -1 else float('nan') for name, s in zip(names, evaluation.stats)}


def test_ap_of_photographs_equals_pycocotools_on_instance_files(shared_dir, tmp_path, capsys):
    meta, samples = photographs(shared_dir)
    scores = evaluate('InstanceAP', samples, meta)
    assert capsys.readouterr().out == ''  # COCOeval is kept quiet
    assert scores == pytest.approx(pycocotools_scores(samples, meta, tmp_path), nan_ok=True)
    assert 5 < scores['AP'] < 95


def test_ap_equals_pycocotools_with_crowd_on_random_maps(tmp_path):
    rng = np.random.default_rng(1)
    samples = [make_sample(*random_scene(rng), img_id=i) for i in range(40)]
    scores = evaluate('InstanceAP', samples)
    assert scores == pytest.approx(pycocotools_scores(samples, META, tmp_path), nan_ok=True)
    assert 5 < scores['AP'] < 95
    assert np.isnan(scores['AP_l'])  # nothing is larger than 96 x 96 here


def test_a_perfect_answer_has_ap_100_also_for_the_first_annotation():
    gt_map, segments = draw('1122', '1122'), [segment(CAT), segment(SKY)]
    sample = make_sample(gt_map, segments, [(CAT, gt_map == 1, 0.9), (SKY, gt_map == 2, 0.9)])
    assert evaluate('InstanceAP', [sample])['AP'] == pytest.approx(100)


def test_a_confident_empty_mask_lowers_ap_as_in_pycocotools(tmp_path):
    gt_map, segments = draw('1122', '1122'), [segment(CAT), segment(SKY)]
    answer = [(CAT, gt_map == 1, 0.8), (CAT, gt_map == 9, 0.9)]
    sample = make_sample(gt_map, segments, answer)
    scores = evaluate('InstanceAP', [sample])
    assert scores == pytest.approx(pycocotools_scores([sample], META, tmp_path), nan_ok=True)
    assert scores['AP'] == pytest.approx(50)


def test_ap_counts_no_more_than_max_dets_of_a_class():
    gt_map, segments = draw('1122', '1122'), [segment(CAT), segment(SKY)]
    wrong = gt_map == 2
    answer = [(CAT, wrong, 0.9), (CAT, wrong, 0.8), (CAT, gt_map == 1, 0.7)]
    sample = make_sample(gt_map, segments, answer)
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


def slow_semantic_scores(samples, meta):
    """detectron2 v0.6's numbers from a confusion matrix, one class pair at a time."""
    num_classes = len(meta['classes'])
    confusion = np.zeros((num_classes, num_classes))  # ground truth, prediction
    for sample in samples:
        gt_map = sample['gt_panoptic_seg']['sem_seg'][0].numpy()
        pred_map = sample['pred_sem_seg']['sem_seg'][0].numpy()
        for k, info in enumerate(sample['segments_info'], 1):
            for label in set(pred_map[gt_map == k].tolist()):
                confusion[info['label'], label] += np.sum((gt_map == k) & (pred_map == label))
    accuracies, weighted = [], 0
    iou_sum, occurring = dict(all=0, th=0, st=0), dict(all=0, th=0, st=0)
    for k in range(num_classes):
        split = 'th' if meta['classes'][k] in meta['thing_classes'] else 'st'
        labelled, predicted = confusion[k].sum(), confusion[:, k].sum()
        for name in ('all', split):
            occurring[name] += labelled + predicted > 0
        if labelled:
            iou = confusion[k, k] / (labelled + predicted - confusion[k, k])
            for name in ('all', split):
                iou_sum[name] += iou
            accuracies.append(confusion[k, k] / labelled)
            weighted += iou * labelled / confusion.sum()
    means = {n: 100 * iou_sum[n] / occurring[n] if occurring[n] else np.nan for n in iou_sum}
    return dict(
        mIoU=means['all'],
        mIoU_th=means['th'],
        mIoU_st=means['st'],
        fwIoU=100 * weighted,
        mACC=100 * np.mean(accuracies),
        pACC=100 * np.trace(confusion) / confusion.sum(),
    )


def test_semantic_iou_equals_a_plain_confusion_matrix_on_random_maps():
    rng = np.random.default_rng(2)
    samples = [make_sample(*random_scene(rng)) for _ in range(60)]
    for group in (samples, *([s] for s in samples if s['gt_panoptic_seg']['sem_seg'].any())):
        scores = evaluate('SemanticIoU', group)
        assert scores == pytest.approx(slow_semantic_scores(group, META), nan_ok=True)


def test_semantic_iou_of_photographs_equals_a_plain_confusion_matrix(shared_dir):
    meta, samples = photographs(shared_dir)
    scores = evaluate('SemanticIoU', samples, meta)
    assert scores == pytest.approx(slow_semantic_scores(samples, meta))
    assert 5 < scores['mIoU'] < 95


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
