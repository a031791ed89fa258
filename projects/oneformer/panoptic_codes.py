"""mmdet's codes of panoptic answers: one number for class and instance of a pixel.

A thing has ``label + INSTANCE_OFFSET * id``, stuff its label, and void has label K.

Legend: H, W image size, P predicted segments, K classes.
"""

import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET


def check_codes(num_classes: int) -> None:
    """Raise ValueError for more classes than mmdet's codes of panoptic maps can tell apart."""
    if num_classes >= INSTANCE_OFFSET:
        raise ValueError(
            f'a panoptic answer can have {INSTANCE_OFFSET - 1} classes at most, not {num_classes}: '
            "take 'panoptic' out of test_cfg.tasks, or use fewer classes"
        )


def segment_codes(pred_map: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of a panoptic answer, ascending, and their pixels, int64 (P,); void is among them.

    Args:
        pred_map: Label + INSTANCE_OFFSET * k, of any shape; void has label K and is no segment.

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
    """Number the segments of a panoptic answer.

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
