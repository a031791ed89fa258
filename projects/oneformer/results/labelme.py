"""labelme: a JSON per image, with a mask shape per object."""

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .objects import FoundObject, objects_of

if TYPE_CHECKING:
    from .prediction import Prediction

VERSION = '6.3.1'  # of labelme, whose files these are like; it reads them since 5.3


def _png(array: np.ndarray) -> str:
    """A PNG in base64 of an array (H, W) or BGR (H, W, 3), uint8."""
    return base64.b64encode(cv2.imencode('.png', array)[1].tobytes()).decode('ascii')


def shape_of(found: FoundObject, name: str) -> dict:
    """The mask shape of an object: two corners, both inside, and a PNG of the mask between them.

    Args:
        found: The object.
        name: Name of its class.
    """
    x, y, width, height = found.box
    shown = '' if found.score is None else f'score {found.score:.3f}'
    return dict(
        label=name,
        points=[[float(x), float(y)], [float(x + width - 1), float(y + height - 1)]],
        group_id=None,
        description=shown,
        shape_type='mask',
        flags={},
        mask=_png(found.crop.astype(np.uint8)),
    )


def labelme_content(
    prediction: 'Prediction',
    image_path: str | os.PathLike,
    pixels: np.ndarray | None = None,
    task: str | None = None,
) -> dict:
    """The content of a JSON of labelme.

    Shapes are in labelme's order, later ones on top: the best instance is the last.

    Args:
        prediction: Prediction of the image.
        image_path: Path of the image, from the folder of the JSON.
        pixels: BGR, uint8, of shape (H, W, 3), to store the image in the JSON, if labelme has no
            file to open; None otherwise.
        task: A task word, see ``objects_of``.
    """
    names, (height, width) = prediction.categories.written, prediction.size
    shapes = [shape_of(found, names[found.label]) for found in objects_of(prediction, task)]
    return dict(
        version=VERSION,
        flags={},
        shapes=shapes[::-1],
        imagePath=Path(image_path).as_posix(),
        imageData=None if pixels is None else _png(pixels),
        imageHeight=height,
        imageWidth=width,
    )
