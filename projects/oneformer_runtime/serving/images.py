"""Images that clients send: the header is checked before anything is decoded."""

import re

import cv2

from ..headers import Header, read_header
from ..loaded import LoadedImage
from ..pixel_limit import max_pixels
from ..reading import decode_file
from ..rules import ImageRules
from .errors import ApiError
from .settings import ALL_KINDS, Settings

NAME = 'image sent'
_MARKER = re.compile(b'\xff([^\x00\xff\xd0-\xd7])', re.S)  # of a JPEG, after any pixels
_MOST_MARKERS = 20_000


def _damaged(found: str) -> ApiError:
    return ApiError(422, 'damaged_image', found, 'replace the file')


def check_image(data: bytes, settings: Settings) -> Header:
    """The header of an image file.

    Args:
        data: The file.
        settings: Kinds of files, and limits of pixels.

    Raises:
        ApiError: If it is not an image, of a kind that is not read, too large, or damaged.
    """
    kinds = ', '.join(settings.kinds)
    try:
        header = read_header(data)
    except ValueError as error:
        raise _damaged(f'the image is damaged: {error}') from error
    if header is None:
        raise ApiError(
            415,
            'not_an_image',
            f'the body is not an image, or none of {", ".join(ALL_KINDS)}',
            f'send one of {kinds} as it is in its file, without a form or base64',
        )
    if header.kind not in settings.kinds:
        raise ApiError(
            415,
            'not_an_image',
            f'the image is a {header.kind}',
            f'convert it to one of {kinds}; who runs the server may add --formats {header.kind}',
        )
    _check_size(header, settings)
    if not header.is_whole:
        raise _damaged('the image is damaged: its end is missing')
    if header.kind == 'JPEG' and jpeg_scans(data, settings.max_scans) > settings.max_scans:
        raise _damaged(f'the image has more than {settings.max_scans} scans')
    return header


def jpeg_scans(data: bytes, most: int) -> int:
    """Scans of a JPEG up to its end, counted to one above ``most``.

    What cameras write behind the end, such as videos, is not counted.
    """
    place, scans = 2, 0
    for _ in range(_MOST_MARKERS):
        found = _MARKER.search(data, place)
        if found is None or found[1] == b'\xd9' or scans > most:
            return scans
        place = found.end()
        if found[1] not in (b'\x01', b'\xd8'):  # the others have content
            scans += found[1] == b'\xda'
            place += max(int.from_bytes(data[place : place + 2], 'big'), 2)
    return most + 1


def _check_size(header: Header, settings: Settings) -> None:
    height, width = header.height, header.width
    if min(height, width) < 1:
        raise _damaged(f'the image says that it has {width} x {height} pixels')
    pixels = min(settings.max_pixels, max_pixels())
    if height * width > pixels:
        raise ApiError(
            413,
            'too_many_pixels',
            f'the image says that it has {width} x {height} pixels, and {pixels} are allowed',
            'send a smaller image; who runs the server may raise --max-pixels',
        )
    if max(height, width) > settings.max_side:
        raise ApiError(
            413,
            'too_many_pixels',
            f'the image says that it has {width} x {height} pixels, and a side may have '
            f'{settings.max_side}',
            'send parts of it',
        )


def decode_image(data: bytes, rules: ImageRules) -> LoadedImage:
    """Pixels of an image whose header has been checked.

    Raises:
        ApiError: If it cannot be decoded.
    """
    try:
        return decode_file(data, NAME, rules)
    except (ValueError, cv2.error) as error:
        raise ApiError(422, 'damaged_image', str(error), 'replace the file') from error
