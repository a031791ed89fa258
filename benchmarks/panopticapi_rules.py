"""The functions of panopticapi that mmdet calls, for its installation lacks them.

panopticapi is not on PyPI. What stands in for it here does the same work, in as few passes or
fewer, so that no ratio is gained from it.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from unittest import mock

import numpy as np

VOID = 0
OFFSET = 1 << 24


def rgb2id(colors: np.ndarray) -> np.ndarray:
    """Ids R + 256 G + 65536 B of shape (H, W), int32, of colours (H, W, 3), red first."""
    colors = colors.astype(np.int32)
    return colors[..., 0] + (colors[..., 1] << 8) + (colors[..., 2] << 16)


def id2rgb(ids: np.ndarray) -> np.ndarray:
    """Colours of shape (H, W, 3), uint8, red first."""
    colors = np.empty((*ids.shape, 3), np.uint8)
    for channel in range(3):
        colors[..., channel] = ids >> 8 * channel  # the cast keeps the low byte
    return colors


class ClassStat:
    """What is counted for one class."""

    def __init__(self) -> None:
        self.iou, self.tp, self.fp, self.fn = 0.0, 0, 0, 0

    def quality(self) -> dict[str, float]:
        """PQ, SQ and RQ in [0, 1]; zeros for a class that never occurs."""
        effort = self.tp + 0.5 * self.fp + 0.5 * self.fn
        if effort == 0:
            return dict(pq=0.0, sq=0.0, rq=0.0)
        return dict(
            pq=self.iou / effort, sq=self.iou / self.tp if self.tp else 0.0, rq=self.tp / effort
        )


class PQStat:
    """Counts per category id, which add up over images."""

    def __init__(self) -> None:
        self.per_class = defaultdict(ClassStat)

    def __getitem__(self, category_id: int) -> ClassStat:
        return self.per_class[category_id]

    def __iadd__(self, other: 'PQStat') -> 'PQStat':
        for category_id, stat in other.per_class.items():
            mine = self.per_class[category_id]
            mine.iou += stat.iou
            mine.tp += stat.tp
            mine.fp += stat.fp
            mine.fn += stat.fn
        return self

    def pq_average(
        self, categories: Mapping[int, Mapping], isthing: bool | None
    ) -> tuple[dict, dict]:
        """Mean over the categories that occur, of things, stuff or (None) all; and each one's."""
        each, occurring = {}, []
        for category_id, category in categories.items():
            if isthing is not None and isthing != (category['isthing'] == 1):
                continue
            stat = self.per_class[category_id]
            each[category_id] = stat.quality()
            if stat.tp + stat.fp + stat.fn > 0:
                occurring.append(each[category_id])
        count = max(len(occurring), 1)
        means = {key: sum(q[key] for q in occurring) / count for key in ('pq', 'sq', 'rq')}
        return dict(means, n=len(occurring)), each


def count_image(
    stat: PQStat,
    gt_ids: np.ndarray,
    gt_segments: Sequence[Mapping],
    pred_ids: np.ndarray,
    pred_segments: Sequence[Mapping],
) -> None:
    """Add one image by panopticapi's rules, from one ``np.unique`` of pairs of ids.

    panopticapi calls ``np.unique`` once more for the areas of predicted segments; here they are
    sums over pairs.

    Args:
        stat: Is added to.
        gt_ids: Of shape (H, W), 0 is void.
        gt_segments: Dicts with ``id``, ``category_id``, ``iscrowd``, ``area``.
        pred_ids: Of shape (H, W), 0 is void.
        pred_segments: Dicts with ``id`` and ``category_id``.
    """
    gt_of = {segment['id']: segment for segment in gt_segments}
    category_of = {segment['id']: segment['category_id'] for segment in pred_segments}
    pairs, counts = np.unique(
        gt_ids.astype(np.uint64) * OFFSET + pred_ids.astype(np.uint64), return_counts=True
    )
    overlap, pred_area = {}, defaultdict(int)
    for pair, count in zip(pairs.tolist(), counts.tolist()):
        gt_id, pred_id = divmod(pair, OFFSET)
        overlap[gt_id, pred_id] = count
        pred_area[pred_id] += count

    matched_gt, matched_pred = set(), set()
    for (gt_id, pred_id), shared in overlap.items():
        segment = gt_of.get(gt_id)
        if segment is None or segment['iscrowd'] or pred_id not in category_of:
            continue
        if segment['category_id'] != category_of[pred_id]:
            continue
        in_void = overlap.get((VOID, pred_id), 0)
        iou = shared / (pred_area[pred_id] + segment['area'] - shared - in_void)
        if iou > 0.5:
            stat[segment['category_id']].tp += 1
            stat[segment['category_id']].iou += iou
            matched_gt.add(gt_id)
            matched_pred.add(pred_id)

    crowd_of = {}
    for gt_id, segment in gt_of.items():
        if segment['iscrowd']:
            crowd_of[segment['category_id']] = gt_id
        elif gt_id not in matched_gt:
            stat[segment['category_id']].fn += 1
    for pred_id, category_id in category_of.items():
        if pred_id in matched_pred:
            continue
        forgiven = overlap.get((VOID, pred_id), 0)
        if category_id in crowd_of:
            forgiven += overlap.get((crowd_of[category_id], pred_id), 0)
        if forgiven / pred_area[pred_id] <= 0.5:
            stat[category_id].fp += 1


@contextmanager
def standing_in() -> Iterator[None]:
    """Let mmdet's ``LoadPanopticAnnotations`` and ``CocoPanopticMetric`` find what they need."""
    from mmdet.evaluation.functional import panoptic_utils
    from mmdet.evaluation.metrics import coco_panoptic_metric

    package = ModuleType('panopticapi')
    package.utils = ModuleType('panopticapi.utils')
    package.utils.rgb2id = rgb2id
    modules = {'panopticapi': package, 'panopticapi.utils': package.utils}
    functions = dict(PQStat=PQStat, rgb2id=rgb2id, VOID=VOID)
    with (
        mock.patch.dict(sys.modules, modules),
        mock.patch.multiple(panoptic_utils, OFFSET=OFFSET, **functions),
        mock.patch.multiple(coco_panoptic_metric, panopticapi=package, id2rgb=id2rgb, **functions),
    ):
        yield
