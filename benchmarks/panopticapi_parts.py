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


class PQStat(defaultdict):
    """Counts by category id."""

    def __init__(self) -> None:
        super().__init__(lambda: SimpleNamespace(iou=0.0, tp=0, fp=0, fn=0))


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
