"""Decode label images, whose values are numbers and not colours."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .image_files import naming_damage, open_image, read_file
from .lossy_formats import refuse_lossy
from .orientation import exif_orientation, turn_back

NUM_VALUES = 1 << 16  # numbers that a label PNG can hold
_PNG = b'\x89PNG\r\n\x1a\n'
_SHOWN = 8  # colours in a message


def _stored_values(header: Image.Image) -> np.ndarray:
    """The values of an image, which Pillow turns by the orientation that a TIFF states."""
    orientation = exif_orientation(header) if header.format == 'TIFF' else 1
    values = np.array(header)
    if orientation == 1:
        return values
    return turn_back(values.astype(np.uint8) if values.dtype == bool else values, orientation)


@dataclass(frozen=True)
class LabelImage:
    """Numbers of a label image, and facts about its file.

    Attributes:
        values: Numbers of shape (H, W), uint8 or uint16.
        palette: Colours of the values from 0, three bytes each; None without a palette.
        note: Sentence on how the numbers are read, if the file holds them in another way than grey
            or by a palette with 8 or 16 bits; else None.
    """

    values: np.ndarray
    palette: bytes | None = None
    note: str | None = None


class LabelImageError(ValueError):
    """A label image does not hold one number per pixel."""


class ColorLabelError(LabelImageError):
    """A label image holds colours in place of numbers.

    Attributes:
        colors: Most frequent colours, (R, G, B).
    """

    def __init__(self, message: str, colors: list[tuple[int, ...]]) -> None:
        super().__init__(message)
        self.colors = colors


def count_colors(pixels: np.ndarray) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Colours of an RGB image of shape (H, W, 3), uint8, most frequent first, and their pixels."""
    codes = pixels.reshape(-1, 3).astype(np.int32) @ np.array([1, 256, 65536], np.int32)
    found, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind='stable')
    return [(c % 256, c // 256 % 256, c // 65536) for c in found[order].tolist()], counts[order]


def describe_colors(pixels: np.ndarray) -> str:
    """The colours of an RGB image of shape (H, W, 3), uint8, in words."""
    colors, counts = count_colors(pixels)
    text = ', '.join(
        f'{color} in {count} pixels' for color, count in list(zip(colors, counts))[:_SHOWN]
    )
    if len(colors) > _SHOWN:
        text += f' and {len(colors) - _SHOWN} other colours'
    if len(colors) > 256:
        text += ' (so many that it may be a photograph, or drawn with smooth edges)'
    return text


def _stretched(image: Image.Image, data: bytes) -> tuple[int, int] | None:
    """Largest number that a file can hold, and Pillow's value for it; None if they are equal.

    Pillow stretches grey of fewer than 8 bits, as viewers do, but labels are numbers.
    """
    bits = None
    if image.format == 'PNG' and data[25] == 0:
        bits = data[24]
    elif image.format == 'TIFF' and image.mode == 'L':
        bits = image.tag_v2.get(258, (8,))[0]
    elif image.format == 'PPM' and image.mode in 'LI' and image.tile:
        args = image.tile[0][3]
        largest = args[-1] if isinstance(args, tuple) else None
        if isinstance(largest, int) and largest not in (0, 1, 255, 65535):
            return largest, 255 if image.mode == 'L' else 65535
    return ((1 << bits) - 1, 255) if bits in (2, 4) else None


def _opaque(values: np.ndarray, name: str) -> np.ndarray:
    """Values of shape (H, W, C) without their alpha; ValueError if it is not the same all over."""
    hidden = np.count_nonzero(values[..., -1] != 255)
    if hidden:
        raise LabelImageError(
            f'{name} has {hidden} pixels that are transparent, wholly or in part: it is not clear '
            'what their numbers mean. Export it without an alpha channel'
        )
    return values[..., :-1]


def _numbers_of_colors(image: Image.Image, data: bytes, name: str) -> tuple[np.ndarray, str]:
    """Values of shape (H, W) of an image of several channels that are equal, and their note."""
    if data.startswith(_PNG) and data[24] == 16:
        raise LabelImageError(
            f'{name} has several channels of 16 bits, of which decoders cut numbers to 8: export '
            'it in grey'
        )
    mode, values = image.mode, _stored_values(image)
    if mode in ('LA', 'PA', 'RGBA'):
        values = _opaque(values, name)
    if values.shape[2] == 3 and mode in ('RGB', 'RGBA'):
        red = values[..., 0]
        if not (np.array_equal(red, values[..., 1]) and np.array_equal(red, values[..., 2])):
            raise ColorLabelError(
                f'{name} is a colour picture, with the colours (R, G, B) '
                f'{describe_colors(values)}: a label PNG holds one number per pixel, grey or with '
                'a palette',
                count_colors(values)[0],
            )
    elif values.shape[2] != 1:
        raise LabelImageError(
            f'{name} is a colour picture ({mode}) of shape {values.shape}: a label PNG holds one '
            'number per pixel, grey or with a palette'
        )
    return values[..., 0], f'store numbers in {mode}, with all colours equal, and are read as grey'


def _decode(data: bytes, name: str) -> LabelImage:
    image, note = open_image(io.BytesIO(data), name), None
    stored = _stretched(image, data)
    if len(image.getbands()) > 1:
        values, note = _numbers_of_colors(image, data, name)
    else:
        values = _stored_values(image)
    if stored:
        largest, stretched = stored
        dtype = np.uint8 if largest < 256 else np.uint16
        values = np.round(values * (largest / stretched)).astype(dtype)
        note = f'have grey of 0 to {largest}, and are read so, not stretched to 0 to {stretched}'
    palette = None
    if image.mode in ('P', 'PA') and image.palette.mode == 'RGB':
        palette = bytes(image.palette.palette)
    if values.dtype == bool:
        values = values.astype(np.uint8)
    return LabelImage(values, palette, note)


def load_label(path: str, what: str) -> LabelImage:
    """Read a label image: grey of up to 16 bits, with a palette, or in colours that are all equal.

    Raises:
        OSError: If the file is missing or cannot be read.
        ColorLabelError: If it holds colours.
        LabelImageError: If it has several channels of another kind, or transparent pixels.
        ValueError: If it is damaged, of absurd size, compressed with loss, or of floats.
    """
    data = read_file(path, what)
    refuse_lossy(data, path, what)
    name = f'{what} {path}'
    with naming_damage(name, passing=(LabelImageError,)):
        label = _decode(data, name)
    values = label.values
    if values.dtype.kind not in 'iu':
        raise ValueError(
            f'{name} holds numbers of type {values.dtype}: a label PNG holds whole numbers'
        )
    if values.dtype in (np.uint8, np.uint16):
        return label
    if values.min() < 0 or values.max() >= NUM_VALUES:  # a TIFF may hold such numbers
        raise ValueError(
            f'{name} holds numbers from {values.min()} to {values.max()}: a label PNG holds '
            f'0 to {NUM_VALUES - 1}'
        )
    return LabelImage(values.astype(np.uint16), label.palette, label.note)


def load_label_png(path: str, what: str) -> np.ndarray:
    """The values of a label image, see ``load_label``."""
    return load_label(path, what).values


def read_png(path: Path, what: str, channels: int, remedy: str) -> np.ndarray:
    """Decode an annotation of a dataset, whose values are data and not colours.

    Args:
        path: Path of the file.
        what: What it is, for messages.
        channels: 1 or 3.
        remedy: What to do if it is damaged, for messages.

    Returns:
        Of shape (H, W) or (H, W, 3), red first.

    Raises:
        ValueError: If the file is damaged, of absurd size, compressed with loss, or has another
            number of channels.
    """
    name = f'{what} {path}'
    with naming_damage(name, remedy):
        data = path.read_bytes()
        with open_image(io.BytesIO(data), name) as image:
            array = np.asarray(image)
    refuse_lossy(data, str(path), what)
    if (array.shape[2] if array.ndim == 3 else 1) != channels:
        raise ValueError(f'{name} must have {channels} channels, it has shape {array.shape}')
    return array
