"""Arrays that people pass as images: what is none is told, with the remedy."""

import numpy as np

from .rules import ImageRules


def _advice(image: np.ndarray, rules: ImageRules) -> str | None:
    """Advice on an array that is not an image; None for one that is."""
    if not image.size:
        return 'it is empty'
    if image.ndim == 4:
        return 'give the images of a batch as a list'
    if image.ndim == 3 and image.shape[2] == 4:
        return 'leave alpha out, as in image[..., :3]'
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3):
        return 'its channels come first: give image.transpose(1, 2, 0)'
    if image.ndim not in (2, 3) or image.ndim == 3 and image.shape[2] not in (1, 3):
        return 'give BGR of shape (height, width, 3), as cv2.imread returns, or grey'
    if image.dtype.kind == 'f' and rules.value_range is None:
        unit = np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1
        if unit:
            return 'give whole numbers, here (image * 255).round().astype(np.uint8)'
        return 'give BGR of uint8, as cv2.imread returns, or say value_range=(black, white)'
    if image.dtype.kind not in 'iuf':
        return 'give BGR of uint8, as cv2.imread returns'
    return None


def check_array(image: np.ndarray, rules: ImageRules) -> None:
    """Raise ValueError for an array that is not grey or BGR, of shape (H, W) or (H, W, 3).

    Floats need a ``value_range`` among the rules.
    """
    if advice := _advice(image, rules):
        raise ValueError(
            f'an array of {image.dtype} and shape {image.shape} is not an image: {advice}'
        )
