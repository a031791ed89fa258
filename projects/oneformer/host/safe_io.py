"""Write files so that a reader never sees half of one."""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np


@contextmanager
def replacing(
    path: str | os.PathLike, scratch: str | os.PathLike | None = None, ending: str = '.tmp'
) -> Iterator[Path]:
    """Yield a path to write to; its file replaces ``path`` if the block ends without an error.

    Creates the folder of ``path``.

    Args:
        path: The file to write.
        scratch: Folder for the unfinished file, on the file system of ``path``. The default is the
            folder of ``path``, where a killed process leaves a hidden file behind.
        ending: Ending of the unfinished file's name; some writers read the format from it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # cut, since the name of a file may be no longer than that of an image already is
    temporary = Path(scratch or path.parent) / f'.{path.name[:40]}.{os.getpid()}{ending}'
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def without_nan(content):
    """Replace nan, which JSON does not have, by None in nested dicts and lists."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def write_bytes(
    path: str | os.PathLike, content: bytes, scratch: str | os.PathLike | None = None
) -> None:
    """Write a file, see ``replacing``."""
    with replacing(path, scratch) as temporary:
        temporary.write_bytes(content)


def write_durably(path: str | os.PathLike, content: bytes) -> None:
    """Write a file, see ``replacing``, and return when it is on the disk, under its name."""
    path = Path(path)
    with replacing(path) as temporary, temporary.open('wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: str | os.PathLike, content, indent: int | None = 2) -> None:
    """Write JSON, see ``replacing``. nan becomes null."""
    write_bytes(path, (json.dumps(without_nan(content), indent=indent) + '\n').encode())


def write_png(
    path: str | os.PathLike, image: np.ndarray, scratch: str | os.PathLike | None = None
) -> None:
    """Write a PNG, see ``replacing``.

    Args:
        path: Path of the file.
        image: Grey of shape (H, W), uint8 or uint16, or RGB of shape (H, W, 3), uint8.
        scratch: See ``replacing``.
    """
    if image.ndim == 3:
        image = image[..., ::-1]
    write_bytes(path, cv2.imencode('.png', image)[1].tobytes(), scratch)
