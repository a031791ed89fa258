"""Polygons in other brackets than COCO's, and in other units than pixels.

A segmentation of COCO's is a list of polygons [x1, y1, x2, y2, ...], or a run-length code. Other
programs write a single polygon without the outer brackets, or points as pairs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .findings import ERROR, WARNING, Finding
from .readings import number

_FORM = 'write a list of polygons [[x1, y1, x2, y2, ...], ...] in pixels, or a run-length code'
_PERCENT = 100
_FEW = 5  # polygons: too few to conclude that they are in percent


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_pair(value: Any) -> bool:
    return type(value) is list and len(value) == 2 and all(map(_is_number, value))


def _is_ring(value: Any) -> bool:
    """Whether it is a polygon of pairs."""
    return type(value) is list and len(value) > 2 and all(map(_is_pair, value))


def _is_polygon(value: Any) -> bool:
    return type(value) is list and len(value) > 5 and all(map(_is_number, value))


def _flattened(ring: Sequence[Sequence]) -> list:
    return [value for pair in ring for value in pair]


def _box(polygon: Sequence) -> tuple:
    return min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2])


def _holes_are_possible(polygons: Sequence[Sequence]) -> bool:
    """Whether the box of a polygon lies in that of another, so that it may be a hole in it."""
    boxes = [_box(polygon) for polygon in polygons]
    return any(
        a is not b and a[0] <= b[0] and a[1] <= b[1] and a[2] >= b[2] and a[3] >= b[3]
        for a in boxes
        for b in boxes
    )


def _numbers_of_texts(value: Any) -> Any:
    """Nested lists with numbers in place of the texts that mean them."""
    if type(value) is list:
        return [_numbers_of_texts(one) for one in value]
    meant = number(value)
    return value if meant is None else meant


def _without_brackets(value: list) -> list | None:
    """The polygons of nested rings; None for other values, ValueError where some may be holes."""
    while len(value) == 1 and type(value[0]) is list and type(value[0][0]) is list:
        if _is_ring(value[0]) or not value[0][0]:
            break
        value = value[0]
    if all(map(_is_polygon, value)):
        return value
    rings = [part[0] if len(part) == 1 and type(part[0]) is list else part for part in value]
    if not all(_is_ring(ring) or _is_polygon(ring) for ring in rings):
        return None
    polygons = [_flattened(ring) if _is_ring(ring) else ring for ring in rings]
    if _holes_are_possible(polygons):
        raise ValueError(
            f'its segmentation has {len(polygons)} rings of points, one within the box of another, '
            f'which may be a hole or a part: {_FORM}; holes need a run-length code'
        )
    return polygons


def _refuse_points(value: Any) -> None:
    """Raise ValueError for points that are dicts, and for a text."""
    inner = value
    while type(inner) is list and inner:
        inner = inner[0]
    if isinstance(inner, Mapping) and not (inner is value and 'counts' in value):
        what = 'is a dict' if inner is value else 'has dicts'
        raise ValueError(f'its segmentation {what} of {sorted(map(str, inner))}: {_FORM}')
    if type(value) is str or not isinstance(value, list | Mapping):
        kind = type(value).__name__
        raise ValueError(f'its segmentation is {str(value)[:40]!r}, a {kind}: {_FORM}')


def as_polygons(segmentation: Any) -> tuple[Any, str | None]:
    """A segmentation in COCO's brackets, from one of a JSON that is not empty.

    Returns:
        The segmentation, and in which other way it was written (a kind of ``Readings``); None if
        it is as in COCO, or not a segmentation, which decoding reports.

    Raises:
        ValueError: If points are dicts, for a text, or if rings may be holes.
    """
    if type(segmentation) is list:
        first = segmentation[0]
        if type(first) is list and first and _is_number(first[0]) and len(first) != 2:
            return segmentation, None  # the usual case, at no cost
    _refuse_points(segmentation)
    if type(segmentation) is not list:
        return segmentation, None
    kind = None
    if type(_first_leaf(segmentation)) is str:
        segmentation, kind = _numbers_of_texts(segmentation), 'coordinates as texts'
    first = segmentation[0]
    if all(map(_is_number, segmentation)):
        return [segmentation], kind or 'flat polygon'
    if _is_ring(segmentation):
        return [_flattened(segmentation)], kind or 'polygon of pairs'
    if type(first) is list and first and type(first[0]) is list:
        polygons = _without_brackets(segmentation)
        if polygons is not None:
            return polygons, kind or 'nested polygon'
    return segmentation, kind


def _first_leaf(value: Any) -> Any:
    while type(value) is list and value:
        value = value[0]
    return value


class Units:
    """Looks at the polygons of a file for those that are not in pixels."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.polygons = 0
        self.shares = 0
        self._first = None
        self._percents = True  # as far as seen
        self._highest = 0

    def see(self, segmentation: Any, annotation: Mapping, height: int, width: int) -> None:
        """Note a segmentation in COCO's brackets, of an image of this size in pixels."""
        first = _first_leaf(segmentation)
        if type(segmentation) is not list or not _is_number(first):
            return
        self.polygons += 1
        # most polygons are ruled out by their first coordinate
        self._percents = self._percents and first <= _PERCENT and min(height, width) > 2 * _PERCENT
        if first > 1 and not self._percents or not all(map(_is_polygon, segmentation)):
            return
        low, high = (bound(map(bound, segmentation)) for bound in (min, max))
        self._percents = self._percents and low >= 0 and high <= _PERCENT
        self._highest = max(self._highest, high)
        if low >= 0 and high <= 1 and min(height, width) > 2:
            self.shares += 1
            if self._first is None:
                self._first = annotation['id'], annotation['image_id'], width, height

    def finding(self) -> Finding | None:
        """The finding about the file: an error if most polygons teach nothing."""
        if self.shares:
            number, img_id, width, height = self._first
            return Finding(
                'normalised polygons',
                f'{self.file}: the polygons of {self.shares} of {self.polygons} annotations lie '
                f'within 0 to 1, the first of annotation {number!r} of image id {img_id!r} '
                f'({width} x {height} pixels): they are shares of the size, as of YOLO, and not '
                'pixels, so they teach nothing. Multiply each x by the width and each y by the '
                'height of the image',
                self.file,
                number,
                ERROR if 2 * self.shares > self.polygons else WARNING,
            )
        if self._percents and self.polygons > _FEW and self._highest > _PERCENT / 2:
            message = (
                f'{self.file}: all {self.polygons} polygons lie within 0 to {_PERCENT}, although '
                f'all images are larger than {2 * _PERCENT} pixels: if these are percents, as of '
                'Label Studio, multiply each x by the width and each y by the height, and divide '
                f'by {_PERCENT}'
            )
            return Finding('polygons in percent', message, self.file, severity=WARNING)
        return None
