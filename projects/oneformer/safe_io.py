"""Write files so that a reader never sees half of one."""

import json
import math
import os
from pathlib import Path

import cv2
import numpy as np


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write a file beside ``path``, then rename; creates the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        temporary.write_bytes(content)
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


def write_json(path: str | os.PathLike, content, indent: int | None = 2) -> None:
    """Write JSON as ``write_bytes`` does. nan becomes null."""
    write_bytes(path, (json.dumps(without_nan(content), indent=indent) + '\n').encode())


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Write a PNG as ``write_bytes`` does.

    Args:
        path: Of the file.
        image: Of shape (H, W), uint8 or uint16, or RGB of shape (H, W, 3), uint8.
    """
    if image.ndim == 3:
        image = image[..., ::-1]
    write_bytes(path, cv2.imencode('.png', image)[1].tobytes())
