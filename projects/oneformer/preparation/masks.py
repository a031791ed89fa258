"""Measure masks as COCO's files do."""

import numpy as np


def measure(mask: np.ndarray) -> dict:
    """Area, in pixels, and bounding box (left, top, width, height) of a mask (H, W).

    Both are zero for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return dict(area=0, bbox=[0, 0, 0, 0])
    left, top = int(columns[0]), int(rows[0])
    bbox = [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
    return dict(area=int(np.count_nonzero(mask)), bbox=bbox)
