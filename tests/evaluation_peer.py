"""Scenes with flawed predictions, and metrics as hotcoco, pycocotools and a loop compute them."""

import json

import numpy as np
import torch
from hotcoco.panoptic import pq_compute
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import METRICS
from PIL import Image
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

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


def panoptic_prediction(predicted, shape, num_classes):
    """Encoded map of [(label, mask, score)], painted in this order; things are numbered from 1."""
    prediction = np.full(shape, num_classes)
    for k, (label, mask, _) in enumerate(predicted, 1):
        prediction[mask] = label + INSTANCE_OFFSET * k
    return prediction


def make_sample(gt_map, segments, predicted=(), img_id=1, meta=META):
    """A data sample with all three predictions, made of non-overlapping predicted segments."""
    num_classes = len(meta['classes'])
    panoptic = panoptic_prediction(predicted, gt_map.shape, num_classes)
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
    for k, info in enumerate(segments, 1):
        if rng.random() < 0.3:  # as if painted over later
            info['area'] = int(np.sum(gt_map == k) + rng.integers(30))
    return gt_map, segments, perturb(gt_map, segments, rng, len(CLASSES))


def flawed_predictions(root):
    """COCO photographs' official annotation with flawed predictions: metainfo and data samples."""
    annotation = json.loads((root / 'panoptic_tiny.json').read_text())
    categories = annotation['categories']
    meta = dict(
        classes=tuple(c['name'] for c in categories),
        thing_classes=tuple(c['name'] for c in categories if c['isthing']),
        category_ids=tuple(c['id'] for c in categories),
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
            segments[-1]['area'] = info['area']
        predicted = perturb(gt_map, segments, rng, len(categories))
        sample = make_sample(gt_map, segments, predicted, image['image_id'], meta)
        sample['img_path'] = str(root / f'images/{image["image_id"]:012d}.jpg')
        samples.append(sample)
    return meta, samples


def evaluate(metric_type, samples, meta=META, **kwargs):
    """Scores without the task in front; with `classwise` also `per_class`."""
    metric = METRICS.build(dict(type=metric_type, **kwargs))
    metric.dataset_meta = meta
    for sample in samples:
        metric.process(None, [sample])
    assert len(metric.results) == len(samples)
    scores = metric.evaluate(len(samples))
    assert all(key.startswith(f'{metric.default_prefix}/') for key in scores)
    scores = {key.split('/')[1]: value for key, value in scores.items()}
    return {**scores, 'per_class': metric.per_class} if kwargs.get('classwise') else scores


def write_panoptic(scenes, meta, folder):
    """Write scenes in COCO panoptic format; returns what ``pq_compute`` takes.

    Args:
        scenes: For each image the map of segments (0 is void), the segments, and the predicted
            map of label + INSTANCE_OFFSET * number.
        meta: With the classes; category ids are labels + 1.
        folder: Is made.
    """
    paths = [folder / name for name in ('gt.json', 'predicted.json', 'gt', 'predicted')]
    for path in paths[2:]:
        path.mkdir(parents=True)
    truth, predicted = [], []
    for number, (gt_map, segments, pred_map) in enumerate(scenes):
        infos = [
            dict(
                id=k,
                category_id=info['label'] + 1,
                iscrowd=int(info['iscrowd']),
                area=int(info.get('area', np.sum(gt_map == k))),
            )
            for k, info in enumerate(segments, 1)
        ]
        codes, ids = np.unique(pred_map, return_inverse=True)
        void = codes % INSTANCE_OFFSET == len(meta['classes'])
        own = np.where(void, 0, np.arange(1, len(codes) + 1))
        found = [
            dict(id=int(k), category_id=int(code % INSTANCE_OFFSET) + 1)
            for k, code in zip(own, codes)
            if k
        ]
        file = dict(image_id=number, file_name=f'{number}.png')
        truth.append(dict(file, segments_info=infos))
        predicted.append(dict(file, segments_info=found))
        for path, id_map in zip(paths[2:], (gt_map, own[ids].reshape(pred_map.shape))):
            colors = np.stack([id_map % 256, id_map // 256, id_map * 0], -1).astype(np.uint8)
            Image.fromarray(colors).save(path / file['file_name'])
    images = [dict(id=k, height=s[0].shape[0], width=s[0].shape[1]) for k, s in enumerate(scenes)]
    categories = [
        dict(id=k, name=name, isthing=int(name in meta['thing_classes']))
        for k, name in enumerate(meta['classes'], 1)
    ]
    paths[0].write_text(json.dumps(dict(images=images, annotations=truth, categories=categories)))
    paths[1].write_text(json.dumps(dict(annotations=predicted)))
    return [str(path) for path in paths]


def hotcoco_counts(scenes, meta, folder):
    """Matches, false alarms, misses and summed IoU of each class, as hotcoco has them."""
    judged = pq_compute(*write_panoptic(scenes, meta, folder))['per_class']
    rows = [judged[label + 1] for label in range(len(meta['classes']))]
    return np.array([[row[key] for key in ('tp', 'fp', 'fn', 'iou')] for row in rows])


def scene_of(sample):
    """A sample as ``write_panoptic`` takes it."""
    gt_map, pred_map = (sample[f'{name}_panoptic_seg']['sem_seg'][0] for name in ('gt', 'pred'))
    return gt_map.numpy(), sample['segments_info'], pred_map.numpy()


def rle(mask):
    """Run-length code of a mask as JSON takes it."""
    code = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=code['size'], counts=code['counts'].decode())


def instance_json(samples, meta, first_id=1):
    """Contents of a COCO instance file and of a results file, written as one would by hand."""
    images, annotations, detections = [], [], []
    for sample in samples:
        height, width = sample['ori_shape']
        images.append(dict(id=sample['img_id'], height=height, width=width))
        gt_map = sample['gt_panoptic_seg']['sem_seg'][0].numpy()
        for k, info in enumerate(sample['segments_info'], 1):
            if info['isthing']:
                annotations.append(
                    dict(
                        id=len(annotations) + first_id,
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
    return dict(images=images, annotations=annotations, categories=categories), detections


def pycocotools_on_files(truth, predictions, evaluation_type=COCOeval):
    """COCOeval.summarize; the paths of a COCO instance file and of a results file."""
    truth = COCO(str(truth))
    evaluation = evaluation_type(truth, truth.loadRes(str(predictions)), 'segm')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    names = ('AP', 'AP50', 'AP75', 'AP_s', 'AP_m', 'AP_l')
    return {name: 100 * s if s > -1 else float('nan') for name, s in zip(names, evaluation.stats)}


def pycocotools_scores(samples, meta, folder, evaluation_type=COCOeval):
    """COCOeval.summarize on instance files made of samples."""
    truth, detections = instance_json(samples, meta)
    (folder / 'gt.json').write_text(json.dumps(truth))
    (folder / 'predictions.json').write_text(json.dumps(detections))
    files = folder / 'gt.json', folder / 'predictions.json'
    return pycocotools_on_files(*files, evaluation_type)


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
