"""Panoptic quality by panopticapi's rules, from one count of (ground truth, prediction) pairs.

Legend: H, W original image size, S listed segments, P predicted segments, K classes.
"""

from collections.abc import Sequence

import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from terminaltables import AsciiTable

from .data_sample import is_thing, naming_image, read_ground_truth, read_map


def panoptic_counts(
    gt_map: np.ndarray, segments: list, pred_map: np.ndarray, num_classes: int
) -> np.ndarray:
    """True positives, false positives, false negatives and sum of matched IoUs, per class.

    The rules of panopticapi: segments of one class match at IoU > 0.5, where the void part of the
    prediction is not counted in the union. Crowd segments never match and are never missed. An
    unmatched prediction is forgiven if more than half of it lies on void and crowd of its class;
    of several crowd segments of one class only the last listed one forgives. A listed segment
    without pixels is a miss. One deviation: panopticapi reads the ground-truth area from the
    annotation file, here it is counted in the map. They differ in ADE20K, whose file has the area
    of stuff before things were painted over it.

    Args:
        gt_map: (H, W), 0 = void, k = `segments[k - 1]`.
        segments: dicts with `label` in [0, K) and `iscrowd`.
        pred_map: (H, W), label + INSTANCE_OFFSET * k; void has label K and is no segment.

    Returns:
        float64 array (K, 4).

    Raises:
        ValueError: for a predicted label above K or a negative one.
    """
    pred_map = pred_map.ravel()
    if pred_map.min() < 0:
        raise ValueError('pred_panoptic_seg has negative values')
    encoded = np.flatnonzero(np.bincount(pred_map))  # a table: ten times faster than np.unique
    pred_labels = encoded % INSTANCE_OFFSET  # P
    if pred_labels.max() > num_classes:
        raise ValueError(
            f'pred_panoptic_seg has label {pred_labels.max()}, '
            f'but there are {num_classes} classes (this number is void)'
        )
    column = np.zeros(encoded[-1] + 1, dtype=np.int64)
    column[encoded] = np.arange(len(encoded))
    pairs = gt_map.ravel().astype(np.int64) * len(encoded) + column[pred_map]
    overlap = np.bincount(pairs, minlength=(len(segments) + 1) * len(encoded))
    overlap = overlap.reshape(-1, len(encoded))  # S+1 P
    forgiven, intersection = overlap[0], overlap[1:]  # P, S P

    gt_labels = np.array([segment['label'] for segment in segments], dtype=np.int64)
    crowd = np.array([segment['iscrowd'] for segment in segments], dtype=bool)
    pred_area = overlap.sum(0)
    union = pred_area - forgiven + intersection.sum(1, keepdims=True) - intersection
    iou = intersection / np.maximum(union, 1)
    match = (iou > 0.5) & (gt_labels[:, None] == pred_labels) & ~crowd[:, None]  # S P

    last_crowd = {gt_labels[row]: row for row in np.flatnonzero(crowd)}
    for label, row in last_crowd.items():
        forgiven = forgiven + intersection[row] * (pred_labels == label)
    missed = ~crowd & ~match.any(1)
    wrong = (pred_labels < num_classes) & ~match.any(0) & (2 * forgiven <= pred_area)

    matched_labels = gt_labels[np.nonzero(match)[0]]
    return np.stack(
        [
            np.bincount(matched_labels, minlength=num_classes),
            np.bincount(pred_labels[wrong], minlength=num_classes),
            np.bincount(gt_labels[missed], minlength=num_classes),
            np.bincount(matched_labels, weights=iou[match], minlength=num_classes),
        ],
        axis=1,
    ).astype(np.float64)  # K 4


def class_quality(counts: np.ndarray) -> np.ndarray:
    """PQ, SQ and RQ in percent, (K, 3), of counts (K, 4); nan for classes that never occur."""
    tp, fp, fn, iou_sum = counts.T
    effort = np.where(tp + fp + fn > 0, tp + (fp + fn) / 2, np.nan)
    quality = np.stack([iou_sum / effort, iou_sum / np.maximum(tp, 1), tp / effort], axis=1)
    return 100 * np.where(np.isnan(effort)[:, None], np.nan, quality)  # K 3


@METRICS.register_module()
class PanopticQuality(BaseMetric):
    """PQ, SQ, RQ of all classes, things (_th) and stuff (_st), in percent.

    Averages run over the classes that occur in ground truth or prediction; where no class of a
    split occurs, its three numbers are nan.

    Args:
        classwise: also log a table with one row per class that occurs.
    """

    task = default_prefix = 'panoptic'

    def __init__(self, classwise: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.classwise = classwise

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Append one (K, 4) array of counts per image."""
        for data_sample in data_samples:
            with naming_image(data_sample):
                gt_map, segments = read_ground_truth(data_sample)
                pred_map = read_map(data_sample, 'pred_panoptic_seg')
                num_classes = len(self.dataset_meta['classes'])
                self.results.append(panoptic_counts(gt_map, segments, pred_map, num_classes))

    def compute_metrics(self, results: list) -> dict:
        counts = np.sum(results, axis=0)  # K 4
        quality = class_quality(counts)
        occurs = ~np.isnan(quality[:, 0])
        things = is_thing(self.dataset_meta)
        metrics = {}
        for suffix, split in (('', occurs), ('_th', occurs & things), ('_st', occurs & ~things)):
            means = quality[split].mean(0) if split.any() else [np.nan] * 3
            metrics.update(
                {f'{name}{suffix}': float(mean) for name, mean in zip(('PQ', 'SQ', 'RQ'), means)}
            )
        if self.classwise:
            rows = [
                [
                    self.dataset_meta['classes'][k],
                    *(f'{q:.2f}' for q in quality[k]),
                    *counts[k, :3].astype(int),
                ]
                for k in np.flatnonzero(occurs)
            ]
            table = AsciiTable([['class', 'PQ', 'SQ', 'RQ', 'TP', 'FP', 'FN'], *rows])
            print_log(f'Panoptic quality per class:\n{table.table}', logger='current')
        return metrics
