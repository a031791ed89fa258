"""Pillow's antialiased bilinear filter on 8 bits, to the last digit, without Pillow.

Models were trained on images that were resized by it. It works in whole numbers: weights of 22
bits behind the point, one axis after the other, each rounded to 8 bits. Sums of these are exact in
double precision, and so a band of the matrix of an axis is one product.
"""

from functools import lru_cache

import cv2
import numpy as np

_BITS = 22
_PIECE = 32  # pixels of the result whose weights are one matrix
_ROWS = 128  # that are in double precision at a time


@lru_cache(maxsize=64)  # a dataset has few sizes of images
def _bands(old: int, new: int) -> list[tuple[slice, slice, np.ndarray]]:
    """Parts of the result, the parts of the image that they need, and the weights (old, new)."""
    scale = old / new
    support = max(scale, 1.0)
    center = (np.arange(new) + 0.5) * scale
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    last = np.minimum((center + support + 0.5).astype(np.int64), old)
    taps = int(np.ceil(support)) * 2 + 1
    weights = np.zeros((new, taps))
    total = np.zeros(new)
    for tap in range(taps):  # in this order, as sums round
        place = first + tap
        weight = 1 - np.abs((place - center + 0.5) * (1 / support))
        weights[:, tap] = np.where((place < last) & (weight > 0), weight, 0)
        total += weights[:, tap]
    whole = np.floor(0.5 + weights / total[:, None] * (1 << _BITS))
    bands = []
    for start in range(0, new, _PIECE):
        part = slice(start, min(start + _PIECE, new))
        low, high = first[part].min(), last[part].max()
        matrix = np.zeros((high - low, part.stop - start))
        for tap in range(taps):
            place = first[part] + tap
            inside = place < last[part]
            columns = np.flatnonzero(inside)
            matrix[place[inside] - low, columns] = whole[part][inside, tap]
        bands.append((part, slice(low, high), matrix))
    return bands


def _rounded(sums: np.ndarray) -> np.ndarray:
    """Sums of weighted values as 8 bits."""
    sums += 1 << (_BITS - 1)
    sums *= 1 / (1 << _BITS)
    return sums.astype(np.uint8)  # weights are positive and add up to one: 255.5 is not reached


def _change_height(image: np.ndarray, new: int) -> np.ndarray:
    """(H, W, C) to (new, W, C)."""
    height, width, channels = image.shape
    result = np.empty((new, width * channels), np.uint8)
    flat = image.reshape(height, -1)
    for part, needed, weights in _bands(height, new):
        result[part] = _rounded(weights.T @ flat[needed].astype(np.float64))
    return result.reshape(new, width, channels)


def _change_width(image: np.ndarray, new: int) -> np.ndarray:
    """(H, W, C) to (H, new, C)."""
    height, width, _ = image.shape
    planes = []
    for plane in cv2.split(image):
        result = np.empty((height, new), np.uint8)
        for start in range(0, height, _ROWS):
            rows = slice(start, start + _ROWS)
            values = plane[rows].astype(np.float64)
            for part, needed, weights in _bands(width, new):
                result[rows, part] = _rounded(values[:, needed] @ weights)
        planes.append(result)
    return cv2.merge(planes)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image as ``PIL.Image.resize`` of Pillow 13 does by ``BILINEAR``.

    The order of the axes decides how some values are rounded, by 1 of 255. Pillow 12 changed
    the width first; 13 does unless the height shrinks by more than twice what the width does, as
    that of an image more than twice as high as wide.

    Args:
        image: Array of shape (H, W, C), uint8.
        size: Its new (height, width).
    """
    (old_height, old_width), (height, width) = image.shape[:2], size
    lost = old_height - height
    steps = [(_change_width, old_width, width), (_change_height, old_height, height)]
    if lost > 0 and lost > 2 * (old_width - width):
        steps.reverse()
    for resize, old, new in steps:
        if old != new:
            image = resize(image, new)
    return image
