"""Label images that have a colour for each class."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

_HEX = re.compile(r'#[0-9a-fA-F]{6}')

ColorNames = Mapping[tuple[int, int, int] | str, str | None]


class LabelColors(NamedTuple):
    """Table from colours to segments, for ``segment_indices``.

    Attributes:
        codes: R + 256 G + 65536 B of the colours, but for black.
        segments: int16 of shape (K + 2,): the segment of black, of each code, and -1 for others.
            A segment is 0 for void, and -1 for a colour that is not listed.
    """

    codes: tuple[int, ...]
    segments: np.ndarray


def _code(color) -> int | None:
    """R + 256 G + 65536 B of a colour (R, G, B) or '#rrggbb'; None for anything else."""
    if isinstance(color, str) and _HEX.fullmatch(color.strip()):
        color = bytes.fromhex(color.strip()[1:])
    if not isinstance(color, Sequence) or isinstance(color, str) or len(color) != 3:
        return None
    if not all(isinstance(c, int) and 0 <= c <= 255 for c in color):
        return None
    return color[0] + 256 * color[1] + 65536 * color[2]


def color_codes(names: ColorNames) -> dict[int, str | None]:
    """Map R + 256 G + 65536 B of each colour to the name of its class, or None for void.

    Args:
        names: Colour, (R, G, B) of 0 to 255 each or ``'#rrggbb'``, to class; None is void.

    Raises:
        ValueError: If it is anything else, or lists a colour twice with different names.
    """
    if not isinstance(names, Mapping) or not names:
        raise ValueError(
            f'label_colors is {names!r}: it has to be a dict from colour to class, such as '
            "{(255, 0, 0): 'cat', (0, 0, 0): None}"
        )
    wrong = [color for color in names if _code(color) is None]
    if wrong:
        raise ValueError(
            f"label_colors has {wrong}: a colour is (R, G, B) of 0 to 255 each, or '#rrggbb'"
        )
    codes = {}
    for color, name in names.items():
        if codes.setdefault(_code(color), name) != name:
            raise ValueError(f'label_colors lists {color} twice, as {name!r} too: remove one')
    return codes


def make_label_colors(codes: Mapping[int, str | None], segment_of: Mapping) -> LabelColors:
    """The table of a dataset.

    Args:
        codes: See ``color_codes``.
        segment_of: Number of the segment of each name; other names are void.
    """
    listed = [code for code in codes if code]
    segments = [segment_of.get(codes[code], 0) for code in listed]
    black = segment_of.get(codes[0], 0) if 0 in codes else -1
    return LabelColors(tuple(listed), np.array([black, *segments, -1], np.int16))
