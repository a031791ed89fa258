"""Decode image files into the input of a model: BGR, 8 bits, upright or as stored."""

import io
import struct
from contextlib import suppress
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from .depth import to_eight_bits
from .image_files import END_MARKERS, check_pixels, naming_damage, open_image, read_file
from .orientation import exif_orientation, turn, turn_back
from .rules import DEFAULT, LABELS, ImageRules

_RGB_PNG = b'\x89PNG\r\n\x1a\n', b'IHDR', b'\x08\x02'  # signature; header: 8 bits, in colours
_PAGED = ('TIFF', 'PNG', 'WEBP')
_ANY_DEPTH = ('PPM', 'JPEG2000')  # their headers tell less


@dataclass(frozen=True)
class LoadedImage:
    """An image as input of a model, and facts about its file.

    Attributes:
        pixels: BGR, uint8, of shape (H, W, 3).
        orientation: 1 to 8, as the file states it, whether or not the image was turned by it.
        dtype: Type of the values in the file, such as ``'uint8'``.
        values: Least and largest of them if they have more than 8 bits, else None.
        value_range: Values that became 0 and 255; (0, 255) for 8 bits.
        transparent: Share of the pixels, 0 to 1, that are transparent, wholly or in part.
        pages: Images in the file, of which this is the first.
    """

    pixels: np.ndarray
    orientation: int = 1
    dtype: str = 'uint8'
    values: tuple[float, float] | None = None
    value_range: tuple[float, float] = (0, 255)
    transparent: float = 0.0
    pages: int = 1


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
    return cv2.imdecode(np.frombuffer(data, np.uint8), flag)


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
            f'{name} is damaged, no image, or one of a kind that is not read, such as several '
            'channels of floats: replace the file'
        )
    # decoders turn TIFFs
    return to_loaded(values, name, rules, orientation, header.format == 'TIFF', pages)


def to_loaded(
    values: np.ndarray,
    name: str,
    rules: ImageRules,
    orientation: int = 1,
    upright: bool = False,
    pages: int = 1,
) -> LoadedImage:
    """Apply rules to decoded values.

    Args:
        values: Grey or BGR, maybe with alpha: of shape (H, W) or (H, W, 1 to 4), of any numbers.
        name: Name of the image, for messages.
        rules: Rules for its orientation and for more than 8 bits.
        orientation: Orientation that its file states, 1 to 8.
        upright: Whether the values have been turned by it already.
        pages: Images in its file.

    Raises:
        ValueError: If the values are such that no rule is given for them.
    """
    pixels, transparent = drop_alpha(values)
    dtype, deep, value_range = 'uint8', None, (0, 255)
    if pixels.dtype != np.uint8:
        dtype, deep = str(pixels.dtype), (pixels.min().item(), pixels.max().item())
        pixels, value_range = to_eight_bits(pixels, rules.depth, name)
    pixels = as_bgr(pixels)
    if rules.turns and not upright:
        pixels = turn(pixels, orientation)
    elif upright and not rules.turns:
        pixels = turn_back(pixels, orientation)
    return LoadedImage(pixels, orientation, dtype, deep, value_range, transparent, pages)


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
    values = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if values is None and deep and header.mode[0] in 'IF':
        values = np.array(header)  # such as 12 bits in a TIFF
    return values


def drop_alpha(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Values of shape (H, W) or (H, W, C) without alpha, and the share of pixels with any."""
    if values.ndim == 2 or values.shape[2] not in (2, 4):
        return values, 0.0
    alpha = cv2.extractChannel(values, values.shape[2] - 1)
    opaque = 1 if alpha.dtype.kind == 'f' else np.iinfo(alpha.dtype).max
    transparent = np.count_nonzero(alpha < opaque) / alpha.size
    if values.shape[2] == 4 and values.dtype in (np.uint8, np.uint16):
        return cv2.cvtColor(values, cv2.COLOR_BGRA2BGR), transparent
    return values[..., :-1], transparent


def as_bgr(pixels: np.ndarray) -> np.ndarray:
    """Grey or BGR, of shape (H, W), (H, W, 1) or (H, W, 3), as BGR, contiguous in memory."""
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(pixels)
