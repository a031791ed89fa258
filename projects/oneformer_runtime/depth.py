"""Images of more than 8 bits, converted to 8 bits by a rule that users choose."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np

BITS = 'bits'
STEPS = (8, 10, 12, 14, 16)  # bits that cameras and scanners have
EXAMPLES = 'value_range=(low, high), or value_range=dict(percentiles=(0.1, 99.9))'

ValueRange = str | Sequence[float] | Mapping[str, Sequence[float]]


def _is_interval(pair: object) -> bool:
    return (
        isinstance(pair, Sequence)
        and not isinstance(pair, str)
        and len(pair) == 2
        and all(isinstance(v, Real) and not isinstance(v, bool) and math.isfinite(v) for v in pair)
        and pair[0] < pair[1]
    )


def check_value_range(value_range: ValueRange) -> None:
    """Raise ValueError for a value that is not a rule: see ``to_eight_bits``."""
    if isinstance(value_range, Mapping) and set(value_range) == {'percentiles'}:
        pair = value_range['percentiles']
        fits = _is_interval(pair) and min(pair) >= 0 and max(pair) <= 100
    else:
        fits = value_range == BITS or _is_interval(value_range)
    if not fits:
        raise ValueError(
            f'value_range is {value_range!r}: it has to be {BITS!r}, a pair of numbers '
            '(black, white), the first below the second, or dict(percentiles=(low, high)) with '
            'two different percentages from 0 to 100'
        )


def _bits_range(pixels: np.ndarray, what: str) -> tuple[int, int]:
    """The range from 0 to the largest number of the fewest bits that hold all values."""
    low, high = pixels.min(), pixels.max()
    if pixels.dtype.kind not in 'iu' or low < 0 or high >= 1 << STEPS[-1]:
        raise ValueError(
            f'{what} holds numbers of {pixels.dtype} from {low:g} to {high:g}, of which nothing '
            f'says which is black and which is white: set {EXAMPLES}, in a config in its dataset'
        )
    return 0, next((1 << bits) - 1 for bits in STEPS if high < 1 << bits)


def to_eight_bits(
    pixels: np.ndarray, value_range: ValueRange, what: str
) -> tuple[np.ndarray, tuple[float, float]]:
    """Map a range of values to 0 to 255; values outside become 0 or 255.

    Args:
        pixels: Array of any shape and type of numbers, without transparency; uint8 stays as it is.
        value_range: Rule of the range: ``'bits'`` is 0 to the largest number of the fewest of 8,
            10, 12, 14 and 16 bits that hold all values of the image; a pair of values; or
            ``dict(percentiles=(low, high))`` of the values of the image.
        what: The image, for messages.

    Returns:
        Pixels, uint8 of the same shape, and the range.

    Raises:
        ValueError: If values are nan or infinite, and with ``'bits'`` if they are negative,
            above 65535, or floats; for a rule that is none of these.
    """
    if pixels.dtype == np.uint8:
        return pixels, (0, 255)
    if pixels.dtype.kind == 'f' and not np.isfinite(pixels).all():
        count = np.count_nonzero(~np.isfinite(pixels))
        raise ValueError(f'{what} has {count} values that are nan or infinite: replace them')
    check_value_range(value_range)
    low: float
    high: float
    if isinstance(value_range, str):
        low, high = _bits_range(pixels, what)
    elif isinstance(value_range, Mapping):
        low, high = np.percentile(pixels, value_range['percentiles']).tolist()
    else:
        low, high = value_range
    if pixels.dtype == np.uint16:  # a table is ten times faster
        return _scale(np.arange(1 << 16), low, high)[pixels], (low, high)
    return _scale(pixels, low, high), (low, high)


def _scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    span = high - low or 1  # percentiles of an image of one value are equal
    return ((values.astype(np.float64) - low) * (255 / span)).round().clip(0, 255).astype(np.uint8)
