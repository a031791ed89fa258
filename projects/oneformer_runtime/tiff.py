"""The directory of a TIFF: the few tags that are needed before it is decoded."""

import struct
from collections.abc import Sequence

from .orientation import TAG, checked_orientation

_WIDTH, _HEIGHT, _BITS, _EXTRA = 256, 257, 258, 338
_PLACES = (273, 279), (324, 325)  # offsets and lengths of strips, or of tiles
_SIZES = {1: 'B', 3: 'H', 4: 'I'}  # of whole numbers by their type
_MOST_PAGES = 1000  # that are counted


def _values(data: bytes, order: str, entry: int) -> Sequence[int]:
    """The whole numbers of an entry of a directory, none of other types."""
    _, kind, count = struct.unpack_from(f'{order}HHI', data, entry)
    if kind not in _SIZES:
        return ()
    form = f'{order}{count}{_SIZES[kind]}'
    place = entry + 8
    if struct.calcsize(form) > 4:
        (place,) = struct.unpack_from(f'{order}I', data, place)
    if place + struct.calcsize(form) > len(data):
        raise ValueError('a tag lies behind the end of the file')
    return struct.unpack_from(form, data, place)


def _directory(data: bytes, order: str, place: int) -> tuple[dict[int, int], int]:
    """Places of the entries of a directory by their tags, and the place of the next one."""
    (count,) = struct.unpack_from(f'{order}H', data, place)
    entries = range(place + 2, place + 2 + 12 * count, 12)
    tags: dict[int, int] = {}
    for entry in entries:  # of a tag that is given twice the first counts, as for decoders
        tags.setdefault(struct.unpack_from(f'{order}H', data, entry)[0], entry)
    return tags, struct.unpack_from(f'{order}I', data, place + 2 + 12 * count)[0]


def tiff_header_fields(data: bytes) -> dict:
    """Fields of ``headers.Header`` of a TIFF.

    Raises:
        ValueError: Or struct.error, if its directory is damaged.
    """
    order = '<' if data[:2] == b'II' else '>'
    (first,) = struct.unpack_from(f'{order}I', data, 4)
    tags, following = _directory(data, order, first)
    pages, seen = 1, {first}
    while following and following not in seen and pages < _MOST_PAGES:
        seen.add(following)
        pages += 1
        _, following = _directory(data, order, following)

    def values(tag: int) -> Sequence[int]:
        return _values(data, order, tags[tag]) if tag in tags else ()

    ends = [
        offset + length
        for places, lengths in _PLACES
        for offset, length in zip(values(places), values(lengths))
    ]
    return dict(
        height=values(_HEIGHT)[0],
        width=values(_WIDTH)[0],
        orientation=checked_orientation(next(iter(values(TAG)), 1)),
        is_plain=max(values(_BITS), default=1) <= 8 and not values(_EXTRA),
        pages=pages,
        is_whole=max(ends, default=0) <= len(data),
    )
