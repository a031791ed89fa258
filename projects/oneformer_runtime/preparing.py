"""Images as input of the graph: resized by the rule of the test pipeline, padded, RGB."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .description import ImageSettings
from .resizing import resize_image


@dataclass(frozen=True)
class Prepared:
    """An image that was resized.

    Attributes:
        pixels: BGR, uint8, of shape (h, w, 3), without padding.
        padded: (height, width) with padding.
        size: (height, width) of the image before.
    """

    pixels: np.ndarray
    padded: tuple[int, int]
    size: tuple[int, int]

    @property
    def content(self) -> tuple[int, int]:
        """(h, w)."""
        height, width = self.pixels.shape[:2]
        return height, width


def input_size(height: int, width: int, settings: ImageSettings) -> tuple[int, int]:
    """(height, width) that an image is resized to, without padding."""
    scale = settings.short_edge / min(height, width)
    scale = min(scale, settings.max_size / max(height, width))
    if settings.size is not None:
        scale = min(scale, settings.size[0] / height, settings.size[1] / width)
    # a line of one pixel stays one
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def padded_size(size: tuple[int, int], settings: ImageSettings) -> tuple[int, int]:
    """(height, width) of an input of a size after padding on its own."""
    if settings.size is not None:
        return settings.size
    height, width = (-(-side // settings.divisor) * settings.divisor for side in size)
    return height, width


def prepare(image: np.ndarray, settings: ImageSettings) -> Prepared:
    """Resize an image (H, W, 3), BGR, uint8."""
    size = image.shape[0], image.shape[1]
    pixels = resize_image(image, input_size(*size, settings))
    height, width = pixels.shape[:2]
    return Prepared(pixels, padded_size((height, width), settings), size)


def to_batch(images: Sequence[Prepared], settings: ImageSettings) -> np.ndarray:
    """Input of the graph, float32 of shape (B, 3, H, W), of images that are padded to one size."""
    height, width = images[0].padded
    batch = np.empty((len(images), 3, height, width), np.float32)
    batch[:] = np.array(settings.padding, np.float32)[:, None, None]
    for rgb, image in zip(batch, images):
        h, w = image.content
        rgb[:, :h, :w] = image.pixels[..., ::-1].transpose(2, 0, 1)
    return batch
