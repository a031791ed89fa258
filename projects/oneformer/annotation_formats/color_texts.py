"""Colours as people write them."""

import re
from typing import Any

Color = tuple[int, int, int]
_HEX = re.compile(r'#?([0-9a-fA-F]{6})([0-9a-fA-F]{2})?')
_THREE = re.compile(r'(?:rgb)?a?\W*(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\W*', re.IGNORECASE)


def as_color(value: Any) -> Color | None:
    """(R, G, B) of 0 to 255 each that a value of a file means; None for anything else.

    Args:
        value: Three whole numbers, or four with an alpha of 255; ``'#rrggbb'``, ``'r, g, b'``,
            ``'r g b'`` or ``'rgb(r, g, b)'``.
    """
    if isinstance(value, str):
        if found := _HEX.fullmatch(value.strip()):
            return tuple(bytes.fromhex(found[1]))
        found = _THREE.fullmatch(value.strip())
        value = [int(part) for part in found.groups()] if found else None
    if not isinstance(value, list | tuple) or len(value) not in (3, 4):
        return None
    if not all(type(part) is int and 0 <= part <= 255 for part in value):
        return None
    return tuple(value[:3])


def hex_color(text: Any) -> Color | None:
    """(R, G, B) of a text ``'#rrggbb'``, also without #; None for anything else."""
    try:
        found = tuple(bytes.fromhex(str(text).removeprefix('#')))
    except ValueError:
        return None
    return found if len(found) == 3 else None


def nearest(color: Color, others: list[Color]) -> Color:
    """The one of some colours that is most like a colour."""
    return min(others, key=lambda other: sum((a - b) ** 2 for a, b in zip(color, other)))
