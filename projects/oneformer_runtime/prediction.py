"""The predictions for an image as plain arrays.

Legend: H, W original size of the image, K classes, N instances.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Prediction:
    """The predictions for one image; those of tasks that were not asked are None.

    The fields are those of ``oneformer.inference.Prediction``, with the same content.

    Attributes:
        name: File name of the image; of an array its position, ``array_000000``.
        path: Path of the file, None for an array.
        panoptic_map: Segment ids of shape (H, W), int32, 0 for void.
        segments: A dict for each id, ascending from 1, with ``id``, ``label``, ``category`` (its
            name), ``isthing``, ``area`` in pixels, ``bbox`` (x, y, width, height), tight, in
            pixels, and ``score``: the class probability of its query, and of the best query for
            stuff that several have found.
        masks: Masks of the instances, bool of shape (N, H, W). They may overlap.
        labels: Labels of the instances, int64 of shape (N,).
        scores: Scores of the instances, float32 of shape (N,), from the best: class probability of
            the query times mean mask probability inside the mask.
        boxes: Tight boxes (x1, y1, x2, y2) around the masks, x2 and y2 exclusive, float32 (N, 4).
        semantic_map: Labels of shape (H, W), int16.
        names: Names of the classes: ``names[label]``.
    """

    name: str
    path: str | None
    panoptic_map: np.ndarray | None = None
    segments: list[dict] | None = None
    masks: np.ndarray | None = None
    labels: np.ndarray | None = None
    scores: np.ndarray | None = None
    boxes: np.ndarray | None = None
    semantic_map: np.ndarray | None = None
    names: tuple[str, ...] = field(default=(), repr=False)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that were asked."""
        found = dict(panoptic=self.panoptic_map, instance=self.masks, semantic=self.semantic_map)
        return tuple(task for task, value in found.items() if value is not None)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        maps = self.panoptic_map, self.semantic_map, self.masks
        height, width = next(found for found in maps if found is not None).shape[-2:]
        return height, width


def boxes_of_ids(id_map: np.ndarray, number: int) -> list[list[int]]:
    """Tight boxes [x, y, width, height] in pixels of the ids 1 to ``number``, each in the map.

    Args:
        id_map: Map of ids, of shape (H, W), 0 for nothing.
        number: The highest id.
    """
    corners = []
    for lines in (id_map.T, id_map):  # columns, then rows
        seen = np.zeros((len(lines), number + 1), bool)
        seen[np.arange(len(lines))[:, None], lines] = True
        corners.append((seen.argmax(0), len(lines) - seen[::-1].argmax(0)))
    (left, right), (top, bottom) = corners
    boxes = np.stack([left, top, right - left, bottom - top], 1)[1:]
    return boxes.tolist()
