"""Read image files: damaged ones are named, absurd sizes refused before anything is decoded."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mmengine.fileio import get
from PIL import Image

from oneformer_runtime.pixel_limit import ImageTooLargeError, check_pixels

from .orientation import SIDEWAYS, exif_orientation
from .similar_files import similar_files

END_MARKERS = (b'\xff\xd9', b'IEND\xaeB`\x82')  # of JPEG and PNG
_opening = threading.Lock()


def open_image(source: Path | str | BinaryIO, what: str) -> Image.Image:
    """Read the header of an image; it is decoded when its pixels are asked for.

    Args:
        source: Source for Pillow's ``Image.open``, which also raises errors of its own.
        what: Name of the image, for the message.

    Raises:
        ImageTooLargeError: If the header states more pixels than ``max_pixels``.
    """
    with _opening:
        # its own limit cannot be raised for one file, and only warns up to twice its value
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(source)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    try:
        check_pixels(image.height, image.width, what)
    except ImageTooLargeError:
        image.close()
        raise
    return image


@contextmanager
def naming_damage(
    name: str, remedy: str = 'replace the file', passing: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn whatever a decoder raises into a ValueError that says what is damaged, and the remedy.

    Args:
        name: What is decoded.
        remedy: What to do.
        passing: Errors that are left as they are, as that of ``check_pixels`` is.
    """
    try:
        yield
    except ImageTooLargeError:
        raise
    except passing:
        raise
    except Exception as error:
        raise ValueError(f'{name} is damaged ({error}): {remedy}') from error


def upright_size(path: Path, what: str, remedy: str) -> tuple[int, int]:
    """Height and width of an image by its header, turned upright by its EXIF orientation.

    A file that does not end as a JPEG or PNG should is decoded in full.

    Raises:
        ValueError: If the file is empty, truncated, not an image, or one of absurd size.
    """
    name = f'{what} {path}'
    with naming_damage(name, remedy), open_image(path, name) as image:
        with open(path, 'rb') as file:
            file.seek(-16, os.SEEK_END)
            end = file.read()
        if not end.endswith(END_MARKERS):
            image.load()
        turned = image.format != 'PNG' and exif_orientation(image) in SIDEWAYS
        return image.size if turned else image.size[::-1]


def read_file(path: str, what: str) -> bytes:
    """Read a file; an OSError names it, by ``what`` and path, if it cannot be read."""
    try:
        return get(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f'{what} {path} does not exist{similar_files(path)}: check data_root and data_prefix '
            'of the dataset'
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise type(error)(
            f'{what} {path} cannot be read ({reason}): replace it, or correct its name'
        ) from error
