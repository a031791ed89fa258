"""How many labels of a lower precision are those of float32, on a generated image."""

from collections.abc import Callable

import cv2
import numpy as np

from .description import TASKS, ImageSettings
from .scores import semantic_labels

_LEAST = 128  # pixels of a side
Logits = Callable[[np.ndarray, tuple[str, ...]], tuple[np.ndarray, np.ndarray]]


def generated_image(settings: ImageSettings) -> np.ndarray:
    """Blobs of several sizes, RGB of 0 to 255, float32 of shape (1, 3, H, W), as a graph takes."""
    side = -(-_LEAST // settings.divisor) * settings.divisor
    height, width = settings.size or (side, side)
    rng, image = np.random.default_rng(0), np.zeros((height, width, 3))
    for cells in (3, 9, 27, 81):
        coarse = rng.normal(size=(cells, cells, 3)) / cells**0.5
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = image.min(), image.max()
    pixels = ((image - low) * (255 / (high - low))).round().astype(np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def equal_labels(one: Logits, other: Logits, settings: ImageSettings) -> float:
    """Share of equal labels of two networks, of the semantic maps of all tasks at 1/4 of the size.

    Args:
        one: A ``Network``.
        other: Another one of the same model.
        settings: Settings by which images become input of both.
    """
    image = generated_image(settings)
    maps = [semantic_labels(*network(image, TASKS)) for network in (one, other)]
    return float((maps[0] == maps[1]).mean())
