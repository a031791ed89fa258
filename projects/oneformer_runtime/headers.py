"""What the headers of image files say, read without a decoder.

OpenCV fills the missing rest of a truncated file with grey and says nothing, and does not tell the
size before it decodes. So both are read here, for the kinds of files that people keep images in.
What decoders skip and this would not, or the other way round, could hide another size: such files
count as damaged.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .orientation import checked_orientation, tag_of_exif
from .tiff import tiff_header_fields


@dataclass(frozen=True)
class Header:
    """Header of an image file.

    Attributes:
        kind: Such as ``'JPEG'``.
        height: Height of the stored pixels.
        width: Width of the stored pixels.
        orientation: 1 to 8, as EXIF or TIFF states it.
        is_plain: Whether it has 8 bits and no alpha.
        pages: Images in the file.
        is_whole: Whether nothing is missing at its end.
    """

    kind: str
    height: int
    width: int
    orientation: int = 1
    is_plain: bool = True
    pages: int = 1
    is_whole: bool = True


def _orientation(exif: bytes | None) -> int:
    try:
        return checked_orientation(tag_of_exif(exif))
    except struct.error:
        return 1


_MARKER = re.compile(b'\xff+[^\x00\xff]', re.S)  # decoders take 0xFF and 0 for garbage
_MOST_MARKERS = 10_000  # before the pixels


def _jpeg(data: bytes) -> Header:
    place, exif = 2, None
    height = width = 0
    for _ in range(_MOST_MARKERS):
        begun = _MARKER.match(data, place)
        if begun is None:
            raise ValueError('a marker is missing')
        place = begun.end()
        marker = data[place - 1]
        if marker == 1 or 0xD0 <= marker <= 0xD8:
            continue  # markers without content
        (length,) = struct.unpack_from('>H', data, place)
        content = data[place + 2 : place + length]
        if marker == 0xE1 and content.startswith(b'Exif\0\0'):
            exif = exif or content
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from('>HH', content, 1)
        if marker == 0xDA:  # pixels: there a byte 0xFF is a marker or followed by 0
            break
        place += length
    else:
        raise ValueError(f'it has more than {_MOST_MARKERS} markers')
    whole = data.find(b'\xff\xd9', place) >= 0
    return Header('JPEG', height, width, _orientation(exif), is_whole=whole)


_MOST_CHUNKS = 1 << 18  # of PNG and WebP; usual ones have 8 kB and more
_PNG_CHUNKS = (b'IEND', b'acTL', b'eXIf', b'tRNS')


def _png(data: bytes) -> Header:
    width, height, depth, colors = struct.unpack_from('>IIBB', data, 16)
    if data[12:16] != b'IHDR':
        raise ValueError('its first chunk is not IHDR')
    place, chunks = 8, 0
    found: dict[bytes, bytes] = {}
    while place + 12 <= len(data) and b'IEND' not in found:
        (length,) = struct.unpack_from('>I', data, place)
        name = data[place + 4 : place + 8]
        if name in _PNG_CHUNKS:
            found.setdefault(name, data[place + 8 : place + 8 + length])
        place += 12 + length
        chunks += 1
        if chunks > _MOST_CHUNKS:
            raise ValueError(f'it has more than {_MOST_CHUNKS} chunks')
    pages = struct.unpack_from('>I', found.get(b'acTL', b'\0\0\0\1'))[0]
    return Header(
        'PNG',
        height,
        width,
        _orientation(found.get(b'eXIf')),
        depth < 16 and colors not in (4, 6) and b'tRNS' not in found,
        pages,
        b'IEND' in found and place <= len(data),
    )


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    for _ in range(_MOST_CHUNKS):
        if place + 8 > len(data):
            return
        (length,) = struct.unpack_from('<I', data, place + 4)
        yield data[place : place + 4], data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
    raise ValueError(f'it has more than {_MOST_CHUNKS} chunks')


def _webp(data: bytes) -> Header:
    height = width = pages = 0
    alpha, exif = False, None
    if data[12:16] not in (b'VP8X', b'VP8L', b'VP8 '):
        raise ValueError('its first chunk has no size')
    for name, content in _webp_chunks(data):
        if name == b'VP8X' and not height:  # a later one is not read by decoders
            alpha = bool(content[0] & 0x10)
            height, width = (int.from_bytes(content[k : k + 3], 'little') + 1 for k in (7, 4))
        elif name == b'VP8L' and not height:
            (bits,) = struct.unpack_from('<I', content, 1)
            alpha = bool(bits >> 28 & 1)
            height, width = (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
        elif name == b'VP8 ' and not height:
            width, height = (side & 0x3FFF for side in struct.unpack_from('<HH', content, 6))
        elif name == b'EXIF':
            exif = content
        pages += name == b'ANMF'
    (length,) = struct.unpack_from('<I', data, 4)
    whole = length + 8 <= len(data)
    return Header('WebP', height, width, _orientation(exif), not alpha, max(pages, 1), whole)


def _bmp(data: bytes) -> Header:
    start, header = struct.unpack_from('<II', data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from('<HHHH', data, 18)
        packed = 0
    else:
        width, height, _, bits, packed = struct.unpack_from('<iiHHI', data, 18)
    width, height = abs(width), abs(height)
    needed = start + (width * bits + 31) // 32 * 4 * height
    return Header('BMP', height, width, is_whole=packed in (1, 2) or needed <= len(data))


_PNM_HEADER = 1 << 16  # bytes in which it has to end


def _pnm(data: bytes) -> Header:
    kind, place, size = data[1:2], 2, len(data)
    data = data[:_PNM_HEADER]
    numbers: list[int] = []
    while len(numbers) < (2 if kind in b'14' else 3):
        while data[place : place + 1].isspace():
            place += 1
        if data[place : place + 1] == b'#':
            place = data.index(b'\n', place)
            continue
        start = place
        while data[place : place + 1].isdigit():
            place += 1
        numbers.append(int(data[start:place]))
    width, height, most = (*numbers, 1)[:3]
    channels = 3 if kind in b'36' else 1
    row = (width + 7) // 8 if kind == b'4' else width * channels * (2 if most > 255 else 1)
    whole = kind in b'123' or place + 1 + row * height <= size
    return Header('PNM', height, width, is_plain=False, is_whole=whole)


def _tiff(data: bytes) -> Header:
    return Header('TIFF', **tiff_header_fields(data))


_STARTS: tuple[tuple[bytes, Callable[[bytes], Header]], ...] = (
    (b'\xff\xd8\xff', _jpeg),
    (b'\x89PNG\r\n\x1a\n', _png),
    (b'BM', _bmp),
    (b'II*\0', _tiff),
    (b'MM\0*', _tiff),
    *((b'P%d' % number, _pnm) for number in range(1, 7)),
)
KINDS = 'JPEG, PNG, WebP, BMP, TIFF and PNM'


def read_header(data: bytes) -> Header | None:
    """The header of a file; None for one that is of none of the ``KINDS``.

    Raises:
        ValueError: If the header is damaged.
    """
    reader = next((reader for start, reader in _STARTS if data.startswith(start)), None)
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        reader = _webp
    if reader is None:
        return None
    try:
        return reader(data)
    except (IndexError, struct.error, ValueError, OverflowError) as error:
        raise ValueError(f'its header is cut short or wrong ({error})') from error
