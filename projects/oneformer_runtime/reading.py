"""Decode image files as the inferencer of ``oneformer`` does, by OpenCV alone."""

import os
from pathlib import Path

import cv2
import numpy as np

from .headers import KINDS, Header, read_header
from .loaded import LoadedImage, to_loaded
from .pixel_limit import check_pixels
from .rules import DEFAULT, ImageRules
from .still_png import still_png


def load_image(path: str | os.PathLike, rules: ImageRules = DEFAULT) -> LoadedImage:
    """Read and decode a JPEG, PNG, WebP, BMP, TIFF or PNM.

    Args:
        path: Path of the file.
        rules: Rules for its orientation and for more than 8 bits.

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is empty, truncated, of another kind, of absurd size, or of values for
            which no rule is given.
    """
    name = f'image {os.fspath(path)}'
    try:
        data = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f'{name} does not exist: correct its path') from error
    except IsADirectoryError as error:
        raise IsADirectoryError(f'{name} is a folder: give a list of its images') from error
    except OSError as error:
        raise type(error)(
            f'{name} cannot be read ({error.strerror or error}): replace it, or correct its path'
        ) from error
    return decode_file(data, name, rules)


def decode_file(data: bytes, name: str, rules: ImageRules = DEFAULT) -> LoadedImage:
    """Decode an image that has been read, see ``load_image``.

    Args:
        data: Content of the file.
        name: Name of the image, for messages.
        rules: See ``load_image``.
    """
    try:
        header = read_header(data)
    except ValueError as error:
        raise ValueError(f'{name} is damaged: {error}: replace the file') from error
    if header is None:
        raise ValueError(f'{name} is not an image, or none of {KINDS}: convert it to one of these')
    check_pixels(header.height, header.width, name)
    values = _decode(data, header) if header.is_whole else None
    if values is None:
        reason = 'it cannot be decoded' if header.is_whole else 'its end is missing'
        raise ValueError(f'{name} is damaged: {reason}: replace the file')
    # OpenCV turns TIFFs
    upright = header.kind == 'TIFF'
    return to_loaded(values, name, rules, header.orientation, upright, header.pages)


def _decode(data: bytes, header: Header) -> np.ndarray | None:
    """Values of the first image in a file; only TIFFs are turned. None if they cannot be had."""
    flag = cv2.IMREAD_UNCHANGED
    if header.is_plain:
        flag = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(still_png(data), np.uint8), flag)
    except cv2.error:
        return None
