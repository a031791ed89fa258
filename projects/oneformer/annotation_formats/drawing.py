"""Collects the regions of an image, checked and in the frame that the image is viewed in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from ..run_length import encode_mask, encode_part
from .annotated import AnnotatedImage, Loss, Region
from .frames import frame_of
from .reading import finite

OUTSIDE = 'outside of the image'


@dataclass(frozen=True)
class Piece:
    """A part of an object as a tool has it: an outline with holes, or a small mask.

    Attributes:
        outline: Points [(x, y), ...] in pixels from the corner of the image.
        holes: Outlines within it that are not part of the object.
        mask: Bool, of shape (h, w), in place of an outline.
        corner: (left, top) of the mask in the image, in whole pixels.
        where: Words that lead to it in the file.
    """

    outline: Sequence[Sequence[float]] | None = None
    holes: Sequence[Sequence[Sequence[float]]] = ()
    mask: np.ndarray | None = None
    corner: tuple[int, int] = (0, 0)
    where: str = ''


def box_piece(left: float, top: float, right: float, bottom: float, where: str = '') -> Piece:
    """A rectangle, given by two corners in any order."""
    points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return Piece(points, where=where)


def _clipped(points: np.ndarray, axis: int, bound: float, sign: int) -> np.ndarray:
    """The part of a polygon (N, 2) where ``sign * (coordinate - bound) <= 0``."""
    away = sign * (points[:, axis] - bound)
    kept = []
    for here, there, a, b in zip(points, np.roll(points, -1, 0), away, np.roll(away, -1)):
        if a <= 0:
            kept.append(here)
        if (a < 0 < b) or (b < 0 < a):
            crossing = here + (there - here) * (a / (a - b))
            crossing[axis] = bound
            kept.append(crossing)
    return np.array(kept).reshape(-1, 2)


def clip(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """The part of a polygon (N, 2), (x, y), in the image; of shape (0, 2) if there is none."""
    for axis, bound, sign in ((0, 0, -1), (1, 0, -1), (0, width, 1), (1, height, 1)):
        if len(points):
            points = _clipped(points, axis, bound, sign)
    return points if len(points) > 2 else points[:0]


class Drawing:
    """Regions of an image, collected by a reader.

    Args:
        path: The image file.
        file: File of the annotations, for messages.
        stated: (height, width) that the annotations state, if they do.
        slack: Pixels by which outlines may leave the image without being counted.

    Raises:
        OSError: If the image is missing.
        ValueError: If it is not an image, or of another size than stated.
    """

    def __init__(
        self,
        path: Path,
        file: Path | str,
        stated: tuple[int, int] | None = None,
        slack: float = 0.5,
    ) -> None:
        self.file = file
        self.frame = frame_of(path, stated, file)
        self.slack = slack
        self.regions: list[Region] = []
        self.losses: list[Loss] = []
        if self.frame.turns > 1:
            self.lose(
                'labels turned upright',
                f'labels were drawn on the pixels as stored; image {path} has EXIF orientation '
                f'{self.frame.turns}, and they are turned by it, as viewers turn the image',
            )

    def lose(self, kind: str, message: str) -> None:
        """Count something that the converted files will not hold."""
        self.losses.append(Loss(kind, f'{self.file}: {message}'))

    def add(self, category: str, pieces: Sequence[Piece], where: str, **options) -> None:
        """Add an object of one or more pieces.

        Args:
            category: Name of its class.
            pieces: Outlines and masks whose union is the object.
            where: Words that lead to it in the file.
            **options: Attributes of the ``Region``: ``crowd``, ``order``, ``extra``.

        Raises:
            ValueError: If an outline has fewer than three points, or not only numbers.
        """
        outlines, holes, masks = [], [], []
        for piece in pieces:
            name = f'{self.file}: {piece.where or where}'
            if piece.mask is not None:
                masks.append(self._cropped(piece, name))
                continue
            outlines.append(self._checked(piece.outline, name))
            holes.append([self._checked(hole, f'{name}, a hole', True) for hole in piece.holes])
        kept = [outline for outline in outlines if len(outline)]
        if not kept and not any(mask.any() for mask, _ in masks):
            self.lose(OUTSIDE, f'{where} has no pixel in the image, and is left out')
        elif masks or any(map(len, holes)):
            code = self._merged(outlines, holes, masks)
            self.regions.append(Region(category, code=code, where=where, **options))
        else:
            polygons = [self.frame.upright_points(outline).ravel().tolist() for outline in kept]
            self.regions.append(Region(category, polygons, where=where, **options))

    def code(self, category: str, code: dict, where: str, **options) -> None:
        """Add an object by the compressed run-length code of a mask of the size of the labels."""
        if self.frame.turns > 1:
            code = encode_mask(self.frame.upright_mask(mask_utils.decode(code)))
        self.regions.append(Region(category, code=code, where=where, **options))

    def done(self, **options: Any) -> AnnotatedImage:
        """The regions collected so far, with other attributes of the ``AnnotatedImage``."""
        size = self.frame.height, self.frame.width
        return AnnotatedImage(*size, self.regions, losses=self.losses, **options)

    def _checked(self, outline: Sequence | None, name: str, hole: bool = False) -> np.ndarray:
        """Points (N, 2) of an outline within the image, in the frame of the labels."""
        points = outline_points(outline, name)
        height, width = self.frame.drawn
        low, high = points.min(0), points.max(0)
        if (low >= 0).all() and high[0] <= width and high[1] <= height:
            return points
        over = max(-low.min(), high[0] - width, high[1] - height)
        points = clip(points, height, width)
        if over > self.slack and len(points) and not hole:
            self.lose(
                'outlines cut at the edge',
                f'{name.removeprefix(f"{self.file}: ")} leaves the image by {over:.4g} pixels, and '
                'is cut at its edge',
            )
        return points

    def _cropped(self, piece: Piece, name: str) -> tuple[np.ndarray, tuple[int, int]]:
        """The part of a mask that is in the image, and its corner."""
        height, width = self.frame.drawn
        left, top = piece.corner
        rows, columns = piece.mask.shape
        first, start = min(max(top, 0), height), min(max(left, 0), width)
        last, end = max(first, min(top + rows, height)), max(start, min(left + columns, width))
        inside = piece.mask[first - top : last - top, start - left : end - left].astype(bool)
        lost = np.count_nonzero(piece.mask) - np.count_nonzero(inside)
        if lost and inside.any():
            self.lose(
                'masks cut at the edge',
                f'{name.removeprefix(f"{self.file}: ")} has {lost} pixels outside of the image, '
                'which are cut off',
            )
        return inside, (start, first)

    def _merged(self, outlines: Sequence, holes: Sequence, masks: Sequence) -> dict:
        """Code of the union of outlines, without their holes, and of masks."""
        bounds = [(ring.min(0), ring.max(0)) for ring in outlines if len(ring)]
        bounds += [
            (np.array(corner), np.array(corner) + mask.shape[::-1])
            for mask, corner in masks
            if mask.size
        ]
        low = np.floor(np.min([low for low, _ in bounds], 0)).astype(int)
        high = np.ceil(np.max([high for _, high in bounds], 0)).astype(int)
        union = np.zeros((high - low)[::-1], bool)  # covers only the box around all pieces
        for outline, inner in zip(outlines, holes):
            part = _filled([outline - low], union.shape)
            union |= part & ~_filled([hole - low for hole in inner], union.shape)
        for mask, corner in masks:
            left, top = corner - low
            union[top : top + mask.shape[0], left : left + mask.shape[1]] |= mask
        height, width = self.frame.drawn
        if self.frame.turns == 1:
            return encode_part(union, low.tolist(), height, width)
        whole = np.zeros((height, width), np.uint8)
        whole[low[1] : high[1], low[0] : high[0]] = union
        return encode_mask(self.frame.upright_mask(whole))


def _filled(rings: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Bool mask of (height, width) ``size`` of the union of rings (N, 2)."""
    flat = [ring.ravel().tolist() for ring in rings if len(ring)]
    if not flat or 0 in size:
        return np.zeros(size, bool)
    return mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(flat, *size))).astype(bool)


def outline_points(outline: Sequence | None, name: str) -> np.ndarray:
    """Points (N, 2) of an outline, float64; ValueError names what is wrong with it.

    Args:
        outline: Pairs (x, y).
        name: File and place, for messages.
    """
    if not isinstance(outline, Sequence | np.ndarray) or isinstance(outline, str):
        raise ValueError(f'{name} has points that are {outline!r}, not a list: correct it')
    if len(outline) < 3:
        raise ValueError(
            f'{name} has only {len(outline)} point(s): an outline needs at least three; draw it '
            'again, or remove it'
        )
    points = _plain(outline)
    if points is not None:
        return points
    points = []
    for number, point in enumerate(outline):
        if not isinstance(point, Sequence | np.ndarray) or len(point) != 2:
            raise ValueError(f'{name}, point {number} is {point!r}, not (x, y): correct it')
        points.append([finite(value, f'{name}, point {number}') for value in point])
    return np.array(points)


def _plain(outline: Sequence) -> np.ndarray | None:
    """Points (N, 2) of pairs of finite numbers; None for anything else."""
    try:
        points = np.array(outline)
    except ValueError:  # ragged
        return None
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in 'iuf':
        return None
    return points.astype(np.float64) if np.isfinite(points).all() else None
