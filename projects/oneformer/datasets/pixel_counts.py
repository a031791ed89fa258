"""Number of pixels of each value in an image."""

import cv2
import numpy as np

_EXACT = 1 << 24  # OpenCV returns float32, in which larger counts are rounded


def count_values(values: np.ndarray, minlength: int = 0) -> np.ndarray:
    """Number of pixels of each value, as ``np.bincount`` counts, but faster for 8 and 16 bits.

    Args:
        values: Integers from 0, of shape (H, W).
        minlength: Least length of the result.

    Returns:
        Counts of the values from 0 on, int64, of shape (max(largest value + 1, minlength),).
    """
    if values.dtype.itemsize > 2 or not 0 < values.size <= _EXACT:
        return np.bincount(values.ravel(), minlength=minlength)
    values = np.ascontiguousarray(values)
    if values.dtype == np.int16:
        values = values.view(np.uint16)  # OpenCV has no histogram of signed values
    length = max(int(values.max()) + 1, minlength)
    return cv2.calcHist([values], [0], None, [length], [0, length])[:, 0].astype(np.int64)
