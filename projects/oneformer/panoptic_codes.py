"""mmdet's codes of panoptic predictions: one number for class and instance of a pixel.

A thing has ``label + INSTANCE_OFFSET * id``, stuff its label, and void has label K. People get
segments that are numbered from 1; this is the one place where that is done.

Legend: H, W image size, P predicted segments, K classes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from scipy.ndimage import find_objects


def check_codes(num_classes: int) -> None:
    """Raise ValueError for more classes than mmdet's codes of panoptic maps can tell apart."""
    if num_classes >= INSTANCE_OFFSET:
        raise ValueError(
            f'a panoptic prediction can have {INSTANCE_OFFSET - 1} classes at most, not '
            f"{num_classes}: take 'panoptic' out of test_cfg.tasks, or use fewer classes"
        )


def segment_codes(pred_map: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of a panoptic prediction, ascending, and their pixels, int64 (P,); void is among them.

    Args:
        pred_map: Label + INSTANCE_OFFSET * k, of any shape; void has label K and is not a segment.

    Raises:
        ValueError: For a label above K or a negative one.
    """
    if pred_map.min() < 0:
        raise ValueError('pred_panoptic_seg has negative values')
    area = np.bincount(pred_map.ravel())  # a table: ten times faster than np.unique
    codes = np.flatnonzero(area)
    highest = (codes % INSTANCE_OFFSET).max()
    if highest > num_classes:
        raise ValueError(
            f'pred_panoptic_seg has label {highest}, '
            f'but there are {num_classes} classes (this number is void)'
        )
    return codes, area[codes]


def segment_ids(
    pred_map: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the segments of a panoptic prediction.

    Args:
        pred_map: (H, W), label + INSTANCE_OFFSET * k; void has label K.

    Returns:
        Ids of shape (H, W), int32, from 1 in the order of the values, 0 for void; and for each id
        its value in ``pred_map`` and its area in pixels, both int64.
    """
    codes, areas = segment_codes(pred_map, num_classes)
    segments = codes != num_classes
    ids = np.zeros(codes[-1] + 1, dtype=np.int32)
    ids[codes[segments]] = np.arange(1, segments.sum() + 1)
    return ids[pred_map], codes[segments], areas[segments]


def boxes_of_ids(id_map: np.ndarray, count: int) -> list[list[int] | None]:
    """Tight boxes [x, y, width, height] in pixels of ids 1 to ``count``, None where there is none.

    Args:
        id_map: Of shape (H, W), 0 for nothing.
    """
    return [
        None
        if slices is None
        else [slices[1].start, slices[0].start]
        + [slices[axis].stop - slices[axis].start for axis in (1, 0)]
        for slices in find_objects(id_map, count)
    ]


def numbered_segments(
    pred_map: np.ndarray, num_classes: int, infos: Sequence[Mapping] | None = None
) -> tuple[np.ndarray, list[dict]]:
    """Number the segments of a panoptic prediction, and describe them.

    Args:
        pred_map: See ``segment_ids``.
        num_classes: K.
        infos: ``segments_info`` of the prediction, with ``id``, ``label``, ``isthing`` and
            ``score``; other models may have none.

    Returns:
        Ids of shape (H, W), int32, 0 for void; and for each id from 1 a dict with ``id``,
        ``label``, ``area`` in pixels, ``bbox`` (x, y, width, height), tight, in pixels, and
        ``score`` where ``infos`` has one.
    """
    id_map, codes, areas = segment_ids(pred_map, num_classes)
    score_of = {
        info['label'] + INSTANCE_OFFSET * info['id'] * info['isthing']: info['score']
        for info in infos or ()
        if 'score' in info
    }
    columns = codes.tolist(), areas.tolist(), boxes_of_ids(id_map, len(codes))
    segments = [
        dict(id=k, label=code % INSTANCE_OFFSET, area=area, bbox=box)
        | ({'score': float(score_of[code])} if code in score_of else {})
        for k, (code, area, box) in enumerate(zip(*columns), 1)
    ]
    return id_map, segments
