"""The few functions of panopticapi that mmdet calls, for its installation lacks them.

panopticapi is not on PyPI. mmdet has its loop, but not how ids become colours nor where counts are
kept. What stands in for these takes as few passes or fewer, so that no ratio is gained from it.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from unittest import mock

import numpy as np


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


class PQStat:
    """Counts by category id, added over images, and their quality as fractions.

    It is not a mapping: mmengine would make a plain dict of it.
    """

    def __init__(self) -> None:
        self.counts = defaultdict(lambda: SimpleNamespace(iou=0.0, tp=0, fp=0, fn=0))

    def __getitem__(self, category_id: int) -> SimpleNamespace:
        return self.counts[category_id]

    def __contains__(self, category_id: int) -> bool:
        return category_id in self.counts

    def __iter__(self) -> Iterator[int]:
        return iter(self.counts)

    def __iadd__(self, other: 'PQStat') -> 'PQStat':
        for category_id, counts in other.counts.items():
            for name, value in vars(counts).items():
                setattr(self[category_id], name, getattr(self[category_id], name) + value)
        return self

    def pq_average(self, categories: dict, isthing: bool | None) -> tuple[dict, dict]:
        """Means over categories that occur, and the numbers of each category."""
        of_class = {}
        for category_id, category in categories.items():
            if isthing is not None and isthing != bool(category['isthing']):
                continue
            counts = self[category_id]
            effort = counts.tp + (counts.fp + counts.fn) / 2
            of_class[category_id] = dict(
                pq=counts.iou / effort if effort else 0.0,
                sq=counts.iou / counts.tp if counts.tp else 0.0,
                rq=counts.tp / effort if effort else 0.0,
            )
        occurring = [k for k in of_class if self[k].tp + self[k].fp + self[k].fn]
        means = {
            key: sum(of_class[k][key] for k in occurring) / max(len(occurring), 1)
            for key in ('pq', 'sq', 'rq')
        }
        return dict(means, n=len(occurring)), of_class


@contextmanager
def standing_in() -> Iterator[None]:
    """Let mmdet's ``LoadPanopticAnnotations`` and ``CocoPanopticMetric`` find what they need."""
    from mmdet.evaluation.functional import panoptic_utils
    from mmdet.evaluation.metrics import coco_panoptic_metric

    package = ModuleType('panopticapi')
    package.utils = ModuleType('panopticapi.utils')
    package.utils.rgb2id = rgb2id
    modules = {'panopticapi': package, 'panopticapi.utils': package.utils}
    functions = dict(PQStat=PQStat, rgb2id=rgb2id, VOID=0)
    with (
        mock.patch.dict(sys.modules, modules),
        mock.patch.multiple(panoptic_utils, OFFSET=1 << 24, **functions),
        mock.patch.multiple(coco_panoptic_metric, panopticapi=package, id2rgb=id2rgb, **functions),
    ):
        yield
