"""Decode image files into the input of a model: BGR, 8 bits, upright or as stored."""

import io
import struct
from contextlib import suppress

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from oneformer_runtime.loaded import LoadedImage, to_loaded
from oneformer_runtime.still_png import still_png

from .image_files import END_MARKERS, check_pixels, naming_damage, open_image, read_file
from .orientation import exif_orientation
from .rules import DEFAULT, LABELS, ImageRules

_RGB_PNG = b'\x89PNG\r\n\x1a\n', b'IHDR', b'\x08\x02'  # signature; header: 8 bits, in colours
_PAGED = ('TIFF', 'PNG', 'WEBP')
_ANY_DEPTH = ('PPM', 'JPEG2000')  # their headers tell less


def load_image(path: str, what: str, rules: ImageRules = DEFAULT) -> LoadedImage:
    """Read and decode an image, in full.

    OpenCV fills the missing rest of a truncated file with grey and says nothing, so a file that
    does not end as its format should is decoded by Pillow first, which is strict. Pillow also reads
    the header, by which an absurd size is refused.

    Args:
        path: Path of the file.
        what: Kind of file, for messages.
        rules: Rules for its orientation and for more than 8 bits.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is empty, truncated, not an image, of absurd size, or of values for
            which no rule is given.
    """
    return decode_file(read_file(path, what), path, what, rules)


def decode_image(data: bytes, path: str, what: str) -> np.ndarray:
    """Decode an image of 8 bits whose pixels are labels, which no orientation turns.

    Returns:
        Pixels in BGR, uint8, of shape (H, W, 3).

    Raises:
        ValueError: If ``load_image`` would raise it, or the image has more than 8 bits.
    """
    plain = _decode_rgb_png(data, f'{what} {path}')
    if plain is not None:
        return plain
    loaded = decode_file(data, path, what, LABELS)
    if loaded.values is not None:
        raise ValueError(
            f'{what} {path} has colours of {loaded.dtype}, of which labels of 8 bits per colour '
            'would be cut: replace the file'
        )
    return loaded.pixels


def _decode_rgb_png(data: bytes, name: str) -> np.ndarray | None:
    """The pixels of a whole PNG of 8 bits in RGB, as most panoptic PNGs are; None for others.

    Its first bytes say all that Pillow would tell, in a tenth of the time.
    """
    signature, header, kind = _RGB_PNG
    if not (data.startswith(signature) and data[12:16] == header and data[24:26] == kind):
        return None
    width, height = struct.unpack('>II', data[16:24])
    check_pixels(height, width, name)
    if not data.endswith(END_MARKERS[1]):
        return None
    flag = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(still_png(data), np.uint8), flag)


def decode_file(data: bytes, path: str, what: str, rules: ImageRules) -> LoadedImage:
    """Decode an image that has been read, see ``load_image``."""
    name = f'{what} {path}'
    values = None
    # the text of UnidentifiedImageError names no file
    with naming_damage(name), suppress(UnidentifiedImageError):
        header = open_image(io.BytesIO(data), name)
        orientation = exif_orientation(header, data)
        pages = _count_pages(header)
        if not data.endswith(END_MARKERS):
            header.load()
        values = _decode(header, data)
    if values is None:
        raise ValueError(
            f'{name} is damaged, not an image, or one of a kind that is not read, such as several '
            'channels of floats: replace the file'
        )
    # decoders turn TIFFs
    return to_loaded(values, name, rules, orientation, header.format == 'TIFF', pages)


def _count_pages(header: Image.Image) -> int:
    try:
        return getattr(header, 'n_frames', 1) if header.format in _PAGED else 1
    except Exception:  # only the first page has to be whole
        return 1


def _has_more_bits(header: Image.Image, data: bytes) -> bool:
    """Whether the file may have more than 8 bits per colour."""
    if header.format == 'PNG':
        return data[24] == 16
    if header.format == 'TIFF':
        bits = header.tag_v2.get(258, 1)
        return max(bits if isinstance(bits, tuple) else (bits,)) > 8
    return header.format in _ANY_DEPTH


def _decode(header: Image.Image, data: bytes) -> np.ndarray | None:
    """Values of the first image in a file; only TIFFs are turned. None if nothing decodes it."""
    alpha = header.mode in ('RGBA', 'LA', 'PA') or 'transparency' in header.info
    deep = _has_more_bits(header, data)
    flag = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    if alpha or deep:
        flag = cv2.IMREAD_UNCHANGED
    values = cv2.imdecode(np.frombuffer(still_png(data), np.uint8), flag)
    if values is None and deep and header.mode[0] in 'IF':
        values = np.array(header)  # such as 12 bits in a TIFF
    return values
