"""The orientation that a camera writes into an image file, and images turned by it."""

import struct

import cv2
import numpy as np

UPRIGHT, STORED = ORIENTATIONS = ('upright', 'stored')
SIDEWAYS = (5, 6, 7, 8)  # height and width change places
TAG = 0x0112  # of the orientation, in EXIF and TIFF

_SHORT = 3  # numbers of 16 bits, in a directory
_TURNS = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.flip(image, -1),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
_INVERSE = {6: 8, 8: 6}


def checked_orientation(value: object) -> int:
    """An orientation that a file states, 1 (upright) to 8; 1 for whatever is none."""
    return value if isinstance(value, int) and value in _TURNS else 1


def tag_of_exif(exif: bytes | None) -> int | None:
    """The tag in the first directory of EXIF; ten times faster than Pillow, which reads all.

    Raises:
        struct.error: If the EXIF is cut short.
    """
    exif = (exif or b'').removeprefix(b'Exif\0\0')
    order = {b'II': '<', b'MM': '>'}.get(exif[:2])
    if order is None:
        return None
    (start,) = struct.unpack_from(f'{order}I', exif, 4)
    (count,) = struct.unpack_from(f'{order}H', exif, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, _, value = struct.unpack_from(f'{order}HHIH', exif, place)
        if tag == TAG:
            return value if kind == _SHORT else None
    return None


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """The upright image of stored pixels, of shape (H, W) or (H, W, C)."""
    return _TURNS[orientation](image) if orientation in _TURNS else image


def turn_back(image: np.ndarray, orientation: int) -> np.ndarray:
    """The stored pixels of an upright image; see ``turn``."""
    return turn(image, _INVERSE.get(orientation, orientation))
