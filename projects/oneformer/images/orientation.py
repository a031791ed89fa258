"""The orientation that a camera writes into an image file, by Pillow's headers.

What is done with it, ``oneformer_runtime.orientation`` has.
"""

from PIL import Image

from oneformer_runtime.orientation import (
    ORIENTATIONS,
    SIDEWAYS,
    STORED,
    TAG,
    UPRIGHT,
    checked_orientation,
    tag_of_exif,
    turn,
    turn_back,
)

__all__ = ['ORIENTATIONS', 'SIDEWAYS', 'STORED', 'UPRIGHT', 'exif_orientation', 'turn', 'turn_back']

_EXIF_FORMATS = ('JPEG', 'MPO', 'PNG', 'WEBP', None)  # None: an image in memory


def exif_orientation(header: Image.Image, data: bytes = b'') -> int:
    """The orientation of an image by EXIF or TIFF, 1 (upright) to 8.

    XMP is not read, as in OpenCV and browsers. A damaged EXIF counts as none.

    Args:
        header: Header of the image.
        data: The file, for PNGs whose EXIF follows the pixels.
    """
    try:
        if header.format == 'TIFF':
            value = header.tag_v2.get(TAG)
        elif header.format in _EXIF_FORMATS:
            value = tag_of_exif(header.info.get('exif') or _late_exif(header, data))
        else:
            value = None
    except Exception:  # a parser of damaged metadata raises whatever it likes
        return 1
    return checked_orientation(value)


def _late_exif(header: Image.Image, data: bytes) -> bytes | None:
    """EXIF of a PNG that follows the pixels, as the format allows."""
    place = 8
    while header.format == 'PNG' and place + 8 <= len(data):
        length, kind = int.from_bytes(data[place : place + 4], 'big'), data[place + 4 : place + 8]
        if kind == b'eXIf':
            return data[place + 8 : place + 8 + length]
        place += 12 + length
    return None
