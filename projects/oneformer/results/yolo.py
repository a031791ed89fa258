"""YOLO segmentation: a text per image, with a row ``class x1 y1 x2 y2 ...`` per object."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .objects import objects_of
from .outlines import filled, one_polygon

if TYPE_CHECKING:
    from .prediction import Prediction


@dataclass
class Losses:
    """Differences for readers that fill polygons with OpenCV's ``fillPoly``, as Ultralytics.

    Attributes:
        objects: Number of objects written.
        joined: Number of objects of several pieces or with holes.
        differing: Number of objects that are read with other pixels.
        gained: Number of differing pixels in these, of bridges.
        area: Number of pixels of all objects.
    """

    objects: int = 0
    joined: int = 0
    differing: int = 0
    gained: int = 0
    area: int = 0

    def describe(self) -> str:
        """The losses in words, with figures."""
        if not self.joined:
            return f'yolo: {self.objects} objects, each of one piece; no pixel is lost'
        return (
            f'yolo: {self.joined} of {self.objects} objects have several pieces or holes, which a '
            "row joins by bridges without width. By COCO's rule all pixels come back; readers that "
            "draw outlines (OpenCV's fillPoly, as Ultralytics) get other pixels in "
            f'{self.differing} objects, {self.gained} pixels for {self.area} of all objects '
            f'({100 * self.gained / self.area:.2f} %)'
        )


def yolo_rows(prediction: 'Prediction', losses: Losses, task: str | None = None) -> list[str]:
    """The rows of an image: label, and corners as shares of width and height.

    Args:
        prediction: Prediction of the image.
        losses: Counts, to which those of the image are added.
        task: A task word, see ``objects_of``.
    """
    (height, width), rows = prediction.size, []
    for found in objects_of(prediction, task):
        polygon, parts = one_polygon(found.crop)
        losses.objects += 1
        losses.area += found.area
        if parts > 1:
            losses.joined += 1
            wrong = int((filled(polygon, found.crop.shape) != found.crop).sum())
            losses.differing += wrong > 0
            losses.gained += wrong
        shares = (polygon + found.box[:2]) / (width, height)
        numbers = ' '.join(f'{value:.8f}' for value in np.ravel(shares).tolist())
        rows.append(f'{found.label} {numbers}')
    return rows


def data_yaml(names: Sequence[str]) -> str:
    """``data.yaml``: the classes of the numbers in the rows, and the folders of images."""
    listed = [f'  {label}: {json.dumps(name)}' for label, name in enumerate(names)]
    return '\n'.join(['path: .', 'train: images', 'val: images', 'names:', *listed, ''])
