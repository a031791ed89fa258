"""The run-length code of Label Studio's brush: bits of an RGBA image, of which alpha is the mask.

A header tells how many values there are (32 bits), the bits of a value less 1 (5 bits), and four
sizes of run lengths less 1 (4 bits each). Then come blocks: a bit that is 1 for a value that
repeats and 0 for different values, two bits for which of the four sizes, the length less 1, and the
value or the values. It is rle-pack of thi.ng/umbrella.
"""

from collections.abc import Sequence

import numpy as np

from .bitmaps import above_half

_CHANNELS = 4


class _Bits:
    """Reads numbers of any number of bits up to 32, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def read(self, size: int) -> int:
        """The next number; ValueError at the end."""
        start, end = self.place // 8, (self.place + size + 7) // 8
        if end > len(self.data):
            raise ValueError('it ends too early')
        number = int.from_bytes(self.data[start:end], 'big')
        self.place += size
        return number >> (8 * end - self.place) & ((1 << size) - 1)


def decode_values(data: bytes) -> np.ndarray:
    """The values of a code, uint8 for values of up to 8 bits; ValueError for a damaged one."""
    bits = _Bits(data)
    count, word = bits.read(32), bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    if word > 8:
        raise ValueError(f'it has values of {word} bits')
    values = np.zeros(count, np.uint8)
    done = 0
    while done < count:
        repeated = bits.read(1)
        end = done + 1 + bits.read(sizes[bits.read(2)])
        if end > count:
            raise ValueError(f'it has more than the {count} values that it states')
        if repeated:
            values[done:end] = bits.read(word)
        else:
            values[done:end] = [bits.read(word) for _ in range(end - done)]
        done = end
    return values


def decode_brush(numbers: Sequence[int], height: int, width: int, where: str) -> np.ndarray:
    """Bool mask (H, W) of the ``rle`` of a brush.

    Args:
        numbers: Bytes, as a JSON lists them.
        height: Pixels of the image.
        width: Pixels of the image.
        where: Name of the brush in the file, for messages.

    Raises:
        ValueError: If it is damaged or of another size.
    """
    try:
        expected = height * width * _CHANNELS
        data = bytes(numbers)
        stated = int.from_bytes(data[:4], 'big')
        if stated != expected:  # before so much memory is asked for
            raise ValueError(
                f'it has {stated} values, and an image of {width} x {height} pixels {expected}'
            )
        values = decode_values(data)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{where} is damaged ({error}): export it again') from error
    return above_half(values.reshape(height, width, _CHANNELS)[..., 3])
