"""Pascal VOC's masks of objects, and the class of each object."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .label_maps import color_code, read_numbers

BORDER = 255  # the number, and the colour, of pixels between objects
BORDER_COLOR = (224, 224, 192)


def read_objects(path: Path) -> np.ndarray:
    """Number of the object of each pixel, int32 of shape (H, W); 0 for none and for borders."""
    numbers, colored = read_numbers(path, 'mask')
    border = color_code(BORDER_COLOR) if colored else BORDER
    return np.where(numbers == border, 0, numbers)


def labels_of(
    classes: np.ndarray, objects: np.ndarray, names: Sequence[str], path: Path
) -> dict[int, int]:
    """The class of each object, by its pixels.

    Args:
        classes: Class of each pixel of some object, of shape (N,).
        objects: Object of each of these pixels, of shape (N,).
        names: Names of the classes.
        path: The mask of the objects, for messages.

    Raises:
        ValueError: If an object has pixels of several classes; the message names it.
    """
    found, counts = np.unique(np.stack([objects, classes]), axis=1, return_counts=True)
    of_object: dict[int, list[tuple[int, int]]] = {}
    for number, label, count in zip(*found.tolist(), counts.tolist()):
        of_object.setdefault(number, []).append((label, count))
    torn = {number: labels for number, labels in of_object.items() if len(labels) > 1}
    if torn:
        number, labels = next(iter(torn.items()))
        text = ' and '.join(f'{count} of {names[label]!r}' for label, count in labels)
        others = f' (as have {len(torn) - 1} others)' if len(torn) > 1 else ''
        raise ValueError(
            f'mask {path}: object {number} has pixels of several classes, {text}{others}: correct '
            f'this mask or that of the classes ({names[labels[0][0]]!r} first)'
        )
    return {number: labels[0][0] for number, labels in of_object.items()}
