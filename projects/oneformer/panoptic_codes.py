"""mmdet's codes of panoptic predictions: one number for the class and the instance of a pixel.

A thing has ``label + INSTANCE_OFFSET * id``, stuff its label, and void has label K. This module
alone knows that. Everywhere else a segment has an id, 0 for void: that of ``segments_info``, which
``models.fusion`` gives, so that data samples, ``Prediction`` and written files agree.

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


def segment_code(info: Mapping) -> int:
    """The code of a segment with ``id``, ``label`` and ``isthing``."""
    return info['label'] + INSTANCE_OFFSET * info['id'] * info['isthing']


def labels_of_codes(codes):
    """Labels of an array or tensor of codes, K for void."""
    return codes % INSTANCE_OFFSET


def decode_segments(
    codes: np.ndarray, num_classes: int, infos: Sequence[Mapping] | None = None
) -> tuple[np.ndarray, list[dict]]:
    """Ids of the pixels of a panoptic prediction, and its segments.

    Args:
        codes: Map of codes, of shape (H, W).
        num_classes: K.
        infos: ``segments_info`` of the prediction, with ``id``, ``label``, ``isthing`` and maybe
            ``score``. Where it does not give every segment an id of its own, as those of other
            models, they are numbered from 1 in the order of their codes.

    Returns:
        Ids of shape (H, W), int32, 0 for void; and for each id, ascending, a dict with ``id``,
        ``label``, ``area`` in pixels and, where ``infos`` has one, ``score``.

    Raises:
        ValueError: For a label above K or a negative one.
    """
    if codes.min() < 0:
        raise ValueError('pred_panoptic_seg has negative values')
    area = np.bincount(codes.ravel())  # a table: ten times faster than np.unique
    values = np.flatnonzero(area)
    highest = labels_of_codes(values).max()
    if highest > num_classes:
        raise ValueError(
            f'pred_panoptic_seg has label {highest}, '
            f'but there are {num_classes} classes (this number is void)'
        )
    values = values[values != num_classes]
    info_of = {segment_code(info): info for info in infos or ()}
    ids = [info_of[value]['id'] if value in info_of else 0 for value in values.tolist()]
    if len(set(ids) - {0}) < len(ids):
        ids = range(1, len(values) + 1)
    id_of = np.zeros(len(area), dtype=np.int32)
    id_of[values] = ids
    columns = ids, values.tolist(), labels_of_codes(values).tolist(), area[values].tolist()
    segments = []
    for number, value, label, pixels in sorted(zip(*columns)):
        segments.append(dict(id=number, label=label, area=pixels))
        if 'score' in info_of.get(value, ()):
            segments[-1]['score'] = float(info_of[value]['score'])
    return id_of[codes], segments


def boxes_of_ids(id_map: np.ndarray, ids: Sequence[int]) -> list[list[int] | None]:
    """Tight boxes [x, y, width, height] in pixels of ids from 1, None where there is none.

    Args:
        id_map: Map of ids, of shape (H, W), 0 for nothing.
        ids: The ids wanted.
    """
    found = find_objects(id_map, max(ids, default=0))
    boxes: list[list[int] | None] = []
    for number in ids:
        if (place := found[number - 1]) is None:
            boxes.append(None)
            continue
        rows, columns = place
        sides = columns.stop - columns.start, rows.stop - rows.start
        boxes.append([columns.start, rows.start, *sides])
    return boxes


def id_picture(id_map: np.ndarray) -> np.ndarray:
    """RGB picture (H, W, 3), uint8, of segment ids (H, W) in R + 256 G + 65536 B."""
    return np.stack([id_map >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)
