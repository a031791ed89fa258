"""Decode label images, whose values are numbers and not colours."""

import io

import numpy as np
from PIL import Image

from .image_files import ImageTooLargeError, open_image, read_file
from .image_orientation import exif_orientation, turn_back

NUM_VALUES = 1 << 16  # of a label PNG


def _stored_values(header: Image.Image) -> np.ndarray:
    """The values of an image, which Pillow turns by the orientation that a TIFF states."""
    orientation = exif_orientation(header) if header.format == 'TIFF' else 1
    values = np.array(header)
    if orientation == 1:
        return values
    return turn_back(values.astype(np.uint8) if values.dtype == bool else values, orientation)


def load_label_png(path: str, what: str) -> np.ndarray:
    """Read the numbers of a label PNG, which may have a palette, as they are stored.

    Returns:
        Of shape (H, W), uint8 or uint16.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is damaged, of absurd size, or a picture of colours or floats.
    """
    data = read_file(path, what)
    try:
        values = _stored_values(open_image(io.BytesIO(data), f'{what} {path}'))
    except ImageTooLargeError:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise ValueError(f'{what} {path} is damaged ({error}): replace the file') from error
    if values.ndim != 2:
        raise ValueError(
            f'{what} {path} is a colour picture of shape {values.shape}: a label PNG holds one '
            'number per pixel, grey or with a palette'
        )
    if values.dtype.kind not in 'biu':
        raise ValueError(
            f'{what} {path} holds numbers of type {values.dtype}: a label PNG holds whole numbers'
        )
    if values.dtype in (np.uint8, np.uint16):
        return values
    if values.min() < 0 or values.max() >= NUM_VALUES:  # a TIFF may hold such
        raise ValueError(
            f'{what} {path} holds numbers from {values.min()} to {values.max()}: a label PNG holds '
            f'0 to {NUM_VALUES - 1}'
        )
    return values.astype(np.uint16)
