"""Detect images that were compressed with loss, which changes labels, by their content."""

import struct
from collections.abc import Iterator

_RIFF = struct.Struct('<4sI')
_BRANDS = {  # brands of the container that AVIF and HEIC share
    **dict.fromkeys((b'avif', b'avis'), 'AVIF'),
    **dict.fromkeys((b'heic', b'heix', b'heim', b'heis', b'hevc', b'mif1', b'msf1'), 'HEIC'),
}
_STARTS = {
    b'\xff\xd8\xff': 'JPEG',
    b'\x00\x00\x00\x0cjP  \r\n\x87\n': 'JPEG 2000',
    b'\xff\x4f\xff\x51': 'JPEG 2000',
    b'\xff\x0a': 'JPEG XL',
    b'\x00\x00\x00\x0cJXL \r\n\x87\n': 'JPEG XL',
    b'II\xbc': 'JPEG XR',
}
_COMPRESSION = 259  # tag of a TIFF
_TIFF_COMPRESSIONS = {
    6: 'JPEG',
    7: 'JPEG',
    34892: 'JPEG',
    33003: 'JPEG 2000',
    33005: 'JPEG 2000',
    34712: 'JPEG 2000',
    50001: 'WebP',
}
_MAYBE_WITHOUT = ('JPEG 2000', 'AVIF', 'HEIC', 'JPEG XL', 'JPEG XR', 'WebP')


def _webp_chunks(data: bytes, start: int = 12) -> Iterator[bytes]:
    """Names of the chunks of a WebP, including those of the frames of an animation."""
    while start + _RIFF.size <= len(data):
        name, size = _RIFF.unpack_from(data, start)
        yield name
        if name == b'ANMF':
            start += _RIFF.size + 16  # the frame's header; its chunks follow
        else:
            start += _RIFF.size + size + size % 2


def _tiff_compression(data: bytes) -> int | None:
    """The tag of the first image of a TIFF; None if it cannot be found."""
    order = '<' if data[:2] == b'II' else '>'
    big = struct.unpack_from(f'{order}H', data, 2)[0] == 43
    pointer, number, entry, value = (8, 'Q', 20, 12) if big else (4, 'I', 12, 8)
    try:
        (start,) = struct.unpack_from(order + number, data, 8 if big else pointer)
        (count,) = struct.unpack_from(order + ('Q' if big else 'H'), data, start)
        start += 8 if big else 2
        for position in range(start, start + entry * min(count, 1000), entry):
            if struct.unpack_from(f'{order}H', data, position)[0] == _COMPRESSION:
                return struct.unpack_from(f'{order}H', data, position + value)[0]
    except struct.error:
        pass
    return None


def lossy_format(data: bytes) -> str | None:
    """The format of an image, if its compression changes numbers, in a few words; else None."""
    for start, name in _STARTS.items():
        if data.startswith(start):
            return name
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        return 'lossy WebP' if b'VP8 ' in _webp_chunks(data) else None
    if data[4:8] == b'ftyp':
        return _BRANDS.get(data[8:12])
    if data[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        inside = _TIFF_COMPRESSIONS.get(_tiff_compression(data) or 0)
        return inside and f'TIFF with {inside} inside'
    return None


def refuse_lossy(data: bytes, path: str, what: str) -> None:
    """Raise ValueError for an image whose compression changes numbers."""
    found = lossy_format(data)
    if found is None:
        return
    unless = ' (unless it was written without loss)' if found.endswith(_MAYBE_WITHOUT) else ''
    unless = '' if found == 'lossy WebP' else unless
    article = 'an' if found == 'AVIF' else 'a'
    raise ValueError(
        f'{what} {path} is {article} {found} by its content: its compression changes the numbers '
        'of pixels, which labels are made of. Export the labels again as PNG; to convert this '
        f'file does not bring the numbers back{unless}'
    )
