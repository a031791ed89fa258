"""Captions of regions where they cover neither one another nor reserved boxes.

A box is (x, y, width, height) in pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.ndimage import find_objects

FONT = cv2.FONT_HERSHEY_SIMPLEX
_MARGIN = 2  # pixels around a text
_GAP = 2  # pixels between a text and its region
_HIDDEN = 0.25  # share of a text that may lie on smaller regions
_INSIDE = 8  # places inside of a region that are tried
_SIDE = 128  # pixels of a region in which places are looked for


def text_size(text: str, scale: float) -> tuple[int, int]:
    """Width and height of a text with its margin."""
    (width, height), below = cv2.getTextSize(text, FONT, scale, 1)
    return width + 2 * _MARGIN, height + below + 2 * _MARGIN


def write_text(image: np.ndarray, text: str, box: tuple[int, int, int, int], scale: float) -> None:
    """Write a text into a box of ``text_size``: white with a black edge."""
    height = cv2.getTextSize(text, FONT, scale, 1)[0][1]
    place = box[0] + _MARGIN, box[1] + _MARGIN + height
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(image, text, place, FONT, scale, color, thickness, cv2.LINE_AA)


class Layout:
    """The reserved boxes of a picture.

    Args:
        size: (height, width) of the picture.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._taken = np.zeros((0, 4), int)

    def take(self, box: Sequence[int]) -> None:
        """Reserve a box."""
        self._taken = np.concatenate([self._taken, np.array(box)[None]])

    def free(self, boxes: np.ndarray) -> list[tuple[int, int, int, int]]:
        """Boxes among these, int (n, 4), that lie in the picture and cover no reserved box."""
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        free = (low >= 0).all(1) & (high <= self.size[::-1]).all(1)
        taken_low, taken_high = self._taken[:, :2], self._taken[:, :2] + self._taken[:, 2:]
        covers = (low[:, None] < taken_high) & (taken_low < high[:, None])
        free &= ~covers.all(2).any(1)
        return [tuple(box) for box in boxes[free].tolist()]


def _inner_points(inside: np.ndarray) -> list[tuple[int, int]]:
    """Points (x, y) of a mask that are far from its border, and from one another."""
    step = max(1, max(inside.shape) // _SIDE)
    small = np.pad(inside[::step, ::step].astype(np.uint8), 1)
    distance = cv2.distanceTransform(small, cv2.DIST_L2, 3)
    points = []
    for _ in range(_INSIDE):
        farthest = float(distance.max())
        if farthest <= 0:
            break
        ys, xs = np.nonzero(distance >= 0.98 * farthest)
        middle = ((xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2).argmin()
        x, y = int(xs[middle]), int(ys[middle])
        points.append(((x - 1) * step, (y - 1) * step))
        cv2.circle(distance, (x, y), max(2, int(farthest)), 0, -1)
    return points


def _places(
    inside: np.ndarray, corner: tuple[int, int], text: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Boxes for a text in a region or next to it, the best first, int (n, 4).

    For a text that is larger than its region, places next to it come first, so that both are seen;
    any other stays inside, where it is not taken for that of a neighbour. ``inside`` is the region
    in its box at ``corner`` (x, y), bool (h, w); places in it are moved inside the picture.
    """
    (x, y), (width, height) = corner, text
    h, w = inside.shape
    most = size[1] - width, size[0] - height
    within = [
        (max(0, min(x + px - width // 2, most[0])), max(0, min(y + py - height // 2, most[1])))
        for px, py in _inner_points(inside)
    ]
    middle, centre = x + (w - width) // 2, y + (h - height) // 2
    above, below = y - height - _GAP, y + h + _GAP
    left, right = x - width - _GAP, x + w + _GAP
    beside = [
        (middle, above), (middle, below), (right, centre), (left, centre),
        (x, above), (x, below), (x + w - width, above), (x + w - width, below),
        (right, above), (right, below), (left, above), (left, below),
    ]  # fmt: skip
    fits = width <= w and height <= h
    corners = within if fits else beside + within
    return np.array([(*place, width, height) for place in corners], int).reshape(-1, 4)


def place_captions(
    region_map: np.ndarray, captions: Sequence[str], scale: float, layout: Layout
) -> list[tuple[int, int, int, int] | None]:
    """A box for each caption, large regions first; None where there is no room.

    There is no room where the caption would hide smaller regions, as if it were theirs.

    Args:
        region_map: Map of shape (H, W): k is region k from 1.
        captions: Captions of the regions; an empty one has no box.
        scale: Scale of the font.
        layout: Layout of the picture, in which the boxes are reserved.
    """
    places: list[tuple[int, int, int, int] | None] = [None] * len(captions)
    region_map = np.maximum(region_map, 0)
    found = find_objects(region_map, len(captions))
    areas = np.bincount(region_map.ravel(), minlength=len(captions) + 1)
    areas[0] = region_map.size + 1  # nothing is hidden
    for number in (1 + np.argsort(-areas[1:], kind='stable')).tolist():
        if found[number - 1] is None or not captions[number - 1]:
            continue
        rows, columns = found[number - 1]
        boxes = _places(
            region_map[rows, columns] == number,
            (columns.start, rows.start),
            text_size(captions[number - 1], scale),
            layout.size,
        )
        for box in layout.free(boxes):
            x, y, width, height = box
            smaller = areas[region_map[y : y + height, x : x + width]] < areas[number]
            if smaller.mean() <= _HIDDEN:
                layout.take(box)
                places[number - 1] = box
                break
    return places
