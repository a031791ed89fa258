"""PNGs without their animation, which OpenCV decodes less carefully than a still picture.

A damaged animated PNG ends the process in OpenCV 4.12.
"""

import struct

_MARK = b'acTL', b'fcTL', b'fdAT'  # the chunks of animations
_START = b'\x89PNG\r\n\x1a\n'


def still_png(data: bytes) -> bytes:
    """A PNG without the chunks of its animation; other files, and PNGs without any, unchanged.

    What remains is the picture that programs show which know no animations.
    """
    if not data.startswith(_START):
        return data
    kept, start, place = [], 0, 8  # the part that is kept and not cut out yet begins at start
    while place + 8 <= len(data):
        (length,) = struct.unpack_from('>I', data, place)
        end = place + 12 + length
        if data[place + 4 : place + 8] in _MARK:
            kept.append(data[start:place])
            start = end
        place = end
    return data if not start else b''.join([*kept, data[start:]])
