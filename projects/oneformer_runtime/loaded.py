"""Decoded values of an image as input of a model: BGR, 8 bits, upright or as stored."""

from dataclasses import dataclass

import cv2
import numpy as np

from .depth import to_eight_bits
from .orientation import turn, turn_back
from .rules import ImageRules


@dataclass(frozen=True)
class LoadedImage:
    """An image as input of a model, and facts about its file.

    Attributes:
        pixels: BGR, uint8, of shape (H, W, 3).
        orientation: 1 to 8, as the file states it, whether or not the image was turned by it.
        dtype: Type of the values in the file, such as ``'uint8'``.
        values: Least and largest of them if they have more than 8 bits, else None.
        value_range: Values that became 0 and 255; (0, 255) for 8 bits.
        transparent: Share of the pixels, 0 to 1, that are transparent, wholly or in part.
        pages: Images in the file, of which this is the first.
    """

    pixels: np.ndarray
    orientation: int = 1
    dtype: str = 'uint8'
    values: tuple[float, float] | None = None
    value_range: tuple[float, float] = (0, 255)
    transparent: float = 0.0
    pages: int = 1


def to_loaded(
    values: np.ndarray,
    name: str,
    rules: ImageRules,
    orientation: int = 1,
    upright: bool = False,
    pages: int = 1,
) -> LoadedImage:
    """Apply rules to decoded values.

    Args:
        values: Grey or BGR, maybe with alpha: of shape (H, W) or (H, W, 1 to 4), of any numbers.
        name: Name of the image, for messages.
        rules: Rules for its orientation and for more than 8 bits.
        orientation: Orientation that its file states, 1 to 8.
        upright: Whether the values have been turned by it already.
        pages: Images in its file.

    Raises:
        ValueError: If the values are such that no rule is given for them.
    """
    pixels, transparent = drop_alpha(values)
    dtype, deep, value_range = 'uint8', None, (0, 255)
    if pixels.dtype != np.uint8:
        dtype, deep = str(pixels.dtype), (pixels.min().item(), pixels.max().item())
        pixels, value_range = to_eight_bits(pixels, rules.depth, name)
    pixels = as_bgr(pixels)
    if rules.turns and not upright:
        pixels = turn(pixels, orientation)
    elif upright and not rules.turns:
        pixels = turn_back(pixels, orientation)
    return LoadedImage(pixels, orientation, dtype, deep, value_range, transparent, pages)


def drop_alpha(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Values of shape (H, W) or (H, W, C) without alpha, and the share of pixels with any."""
    if values.ndim == 2 or values.shape[2] not in (2, 4):
        return values, 0.0
    alpha = cv2.extractChannel(values, values.shape[2] - 1)
    opaque = 1 if alpha.dtype.kind == 'f' else np.iinfo(alpha.dtype).max
    transparent = np.count_nonzero(alpha < opaque) / alpha.size
    if values.shape[2] == 4 and values.dtype in (np.uint8, np.uint16):
        return cv2.cvtColor(values, cv2.COLOR_BGRA2BGR), transparent
    return values[..., :-1], transparent


def as_bgr(pixels: np.ndarray) -> np.ndarray:
    """Grey or BGR, of shape (H, W), (H, W, 1) or (H, W, 3), as BGR, contiguous in memory."""
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(pixels)
