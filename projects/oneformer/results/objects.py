"""The objects of a prediction one by one, each with its mask inside its box.

Formats of annotation tools hold a list of objects. These are the instances; if the instance task
was not predicted, the segments of the panoptic prediction, or else one region per class of the
semantic one. A mask of the image's size is never made for each.

Legend: H, W size of the image, h, w size of a box.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..panoptic_codes import boxes_of_ids
from ..run_length import encode_crop

if TYPE_CHECKING:
    from .prediction import Prediction

OBJECT_TASKS = ('instance', 'panoptic', 'semantic')  # the first that was predicted has the objects


@dataclass(frozen=True)
class FoundObject:
    """An object with at least one pixel.

    Attributes:
        label: Label of its class.
        score: Score in [0, 1]; None for a region of the semantic prediction.
        box: Tight box (x, y, width, height) in pixels.
        crop: Mask inside the box, bool of shape (h, w).
    """

    label: int
    score: float | None
    box: tuple[int, int, int, int]
    crop: np.ndarray

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.crop))

    def code(self, size: tuple[int, int]) -> dict:
        """Compressed run-length code of the mask in an image of (H, W)."""
        return encode_crop(self.crop, *self.box[:2], size)


def choose_task(tasks: Sequence[str]) -> str:
    """The task whose prediction has the objects, among those that are predicted."""
    return next(task for task in OBJECT_TASKS if task in tasks)


def predicted_task(prediction: 'Prediction', task: str | None = None) -> str:
    """The task whose objects are used.

    Args:
        prediction: Prediction of an image.
        task: A task word, None for the first of ``OBJECT_TASKS`` that was predicted.

    Raises:
        ValueError: If the task was not predicted, or none was.
    """
    tasks = prediction.tasks
    if task is None and tasks:
        return choose_task(tasks)
    if task not in tasks:
        asked = ', '.join(tasks) or 'none'
        raise ValueError(
            f'the prediction of {prediction.name} has no {task or "task"}: predict with '
            f'tasks={[task or "instance"]} (asked were: {asked})'
        )
    return task


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Box (x, y, width, height) around a mask (H, W); None for an empty one."""
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    return left, top, right - left, bottom - top


def objects_of(prediction: 'Prediction', task: str | None = None) -> Iterator[FoundObject]:
    """The objects of a prediction that have pixels; instances with the best first.

    Args:
        prediction: Prediction of an image.
        task: See ``predicted_task``, which also says what is raised.
    """
    task = predicted_task(prediction, task)
    if task == 'instance':
        columns: tuple = prediction.masks, prediction.labels, prediction.scores
        for mask, label, score in zip(columns[0], columns[1].tolist(), columns[2].tolist()):
            if box := tight_box(mask):
                yield FoundObject(label, score, box, crop_of(mask, box))
        return
    if task == 'panoptic':
        id_map = prediction.panoptic_map
        segments = prediction.segments or ()
        found = [(s['id'], s['label'], s['score'], s['bbox']) for s in segments]
    else:
        id_map = np.asarray(prediction.semantic_map, np.int32) + 1
        ids = range(1, int(id_map.max()) + 1)
        found = [(k, k - 1, None, box) for k, box in zip(ids, boxes_of_ids(id_map, ids)) if box]
    for number, label, score, box in found:
        x, y, width, height = box
        tight = x, y, width, height
        yield FoundObject(label, score, tight, crop_of(id_map, tight) == number)


def crop_of(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """The part of an image in a box (x, y, width, height)."""
    x, y, width, height = box
    return image[y : y + height, x : x + width]
