"""Panoptic quality by panopticapi's rules, from one count of (ground truth, prediction) pairs.

Legend: H, W original image size, S listed segments, P predicted segments, K classes.
"""

from collections.abc import Sequence

import numpy as np
from mmdet.registry import METRICS
from typing_extensions import override

from ..metainfo import is_thing
from ..panoptic_codes import decode_segments
from .classwise import ClasswiseMetric, mean
from .data_sample import read_ground_truth, read_known, read_map


def panoptic_counts(
    gt_map: np.ndarray,
    segments: list,
    pred_map: np.ndarray,
    num_classes: int,
    searched: Sequence[int] | None = None,
) -> np.ndarray:
    """True positives, false positives, false negatives and sum of matched IoUs, per class.

    The rules of panopticapi: segments of one class match at IoU > 0.5, where the void part of the
    prediction is not counted in the union. Crowd segments never match and are never missed. An
    unmatched prediction is forgiven if more than half of it lies on void and crowd of its class;
    of several crowd segments of one class only the last listed one forgives. A listed segment
    without pixels is a miss. The area of a segment in the union is the one that its annotation
    states: ADE20K's file has the area of stuff before things were painted over it, and published
    numbers depend on that.

    Args:
        gt_map: (H, W), 0 = void, k = ``segments[k - 1]``.
        segments: Dicts with ``label`` in [0, K), ``iscrowd``, and ``area`` in pixels, which is
            counted in the map where it is not given.
        pred_map: Map of codes, of shape (H, W), see ``panoptic_codes``.
        num_classes: K.
        searched: Labels of which everything is annotated in the image; unmatched predictions of
            others are neither right nor wrong. None for all.

    Returns:
        float64 array (K, 4).

    Raises:
        ValueError: For a predicted label above K or a negative one.
    """
    id_map, predicted = decode_segments(pred_map, num_classes)
    pred_labels = np.array([segment['label'] for segment in predicted], dtype=np.int64)  # P
    pred_area = np.array([segment['area'] for segment in predicted], dtype=np.int64)  # P
    columns = len(predicted) + 1
    pairs = gt_map.ravel().astype(np.int64) * columns + id_map.ravel()
    overlap = np.bincount(pairs, minlength=(len(segments) + 1) * columns).reshape(-1, columns)
    forgiven, intersection = overlap[0, 1:], overlap[1:, 1:]  # P, S P

    gt_labels = np.array([segment['label'] for segment in segments], dtype=np.int64)
    crowd = np.array([segment['iscrowd'] for segment in segments], dtype=bool)
    counted = overlap[1:].sum(1).tolist()
    gt_area = np.array([s.get('area', pixels) for s, pixels in zip(segments, counted)], dtype=float)
    union = pred_area - forgiven + gt_area[:, None] - intersection
    iou = intersection / np.maximum(union, 1)
    match = (iou > 0.5) & (gt_labels[:, None] == pred_labels) & ~crowd[:, None]  # S P

    last_crowd = {gt_labels[row]: row for row in np.flatnonzero(crowd)}
    for label, row in last_crowd.items():
        forgiven = forgiven + intersection[row] * (pred_labels == label)
    missed = ~crowd & ~match.any(1)
    wrong = ~match.any(0) & (2 * forgiven <= pred_area)
    if searched is not None:
        wrong &= np.isin(pred_labels, searched)

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
    """PQ, SQ and RQ in percent, (K, 3), of counts (K, 4); nan for classes that never occur.

    More columns than four are not looked at.
    """
    tp, fp, fn, iou_sum = counts.T[:4]
    effort = np.where(tp + fp + fn > 0, tp + (fp + fn) / 2, np.nan)
    quality = np.stack([iou_sum / effort, iou_sum / np.maximum(tp, 1), tp / effort], axis=1)
    return 100 * np.where(np.isnan(effort)[:, None], np.nan, quality)  # K 3


@METRICS.register_module()
class PanopticQuality(ClasswiseMetric):
    """PQ, SQ, RQ of all classes, things (_th) and stuff (_st), in percent.

    Averages run over the classes that occur in ground truth or prediction; where no class of a
    split occurs, its three numbers are nan. Where the labels say what was looked for in an image,
    nothing else can be predicted wrongly there.
    """

    task = default_prefix = 'panoptic'

    @override
    def score(self, data_sample: dict) -> np.ndarray:
        """An array (K, 5): counts, and the number of crowds."""
        gt_map, segments = read_ground_truth(data_sample)
        pred_map = read_map(data_sample, 'pred_panoptic_seg')
        num_classes = len(self.dataset_meta['classes'])
        known = read_known(data_sample)
        searched = None if known is None else known.searched
        counts = panoptic_counts(gt_map, segments, pred_map, num_classes, searched)
        labels = [segment['label'] for segment in segments if segment['iscrowd']]
        crowds = np.bincount(np.array(labels, np.int64), minlength=num_classes)
        return np.column_stack([counts, crowds])

    @override
    def compute_metrics(self, results: list) -> dict:
        counts, crowds = np.split(np.sum(results, axis=0), [4], axis=1)  # K 4, K 1
        columns = dict(zip(('PQ', 'SQ', 'RQ'), class_quality(counts).T))
        self.tell_classes({**columns, **dict(zip(('TP', 'FP', 'FN'), counts.T.astype(int)))})
        things = is_thing(self.dataset_meta)
        splits = {'': things | True, '_th': things, '_st': ~things}
        scores = {
            f'{name}{suffix}': mean(column[split])
            for suffix, split in splits.items()
            for name, column in columns.items()
        }
        self.tell_missing(scores, counts[:, 0] + counts[:, 2], crowds[:, 0], splits)
        return scores
