"""A mask as one polygon, since a row of YOLO holds one: pieces and holes are joined by bridges.

The outline runs a quarter of a pixel inside the edges of the mask's pixels. So two rules of filling
give the same pixels: COCO's, which takes those whose centre is inside, and OpenCV's ``fillPoly`` of
coordinates cut to whole numbers, which takes those that the outline touches as well. A bridge runs
to and fro on one line: it holds no centre for COCO's rule, but ``fillPoly`` draws its pixels.
"""

import cv2
import numpy as np
from scipy.spatial import cKDTree


def rings(crop: np.ndarray) -> list[np.ndarray]:
    """Outlines of the pieces and of the holes of a mask.

    Args:
        crop: Bool of shape (h, w).

    Returns:
        Corners (x, y) of each in pixels of the crop, float64 of shape (n, 2), pixel (0, 0) being
        the square from 0 to 1. Pieces that touch at a corner are one.
    """
    double = np.repeat(np.repeat(crop.astype(np.uint8), 2, 0), 2, 1)
    found, _ = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return [(ring[:, 0].astype(float) + 0.5) / 2 for ring in found]


def joined(outlines: list[np.ndarray]) -> np.ndarray:
    """One closed polygon of several outlines, each joined by a bridge to the nearest earlier one.

    Args:
        outlines: Outlines, at least one, each of shape (n, 2).

    Returns:
        Corners (x, y), of shape (n, 2).
    """
    path = outlines[0]
    waiting = list(outlines[1:])
    while waiting:
        tree = cKDTree(path)
        near = [tree.query(ring) for ring in waiting]
        chosen = int(np.argmin([distances.min() for distances, _ in near]))
        distances, places = near[chosen]
        ring = waiting.pop(chosen)
        start = int(distances.argmin())
        place = int(places[start])
        around = np.concatenate([ring[start:], ring[: start + 1]])
        path = np.concatenate([path[: place + 1], around, path[place:]])
    return path


def one_polygon(crop: np.ndarray) -> tuple[np.ndarray, int]:
    """A mask as one polygon.

    Args:
        crop: Bool of shape (h, w), with at least one pixel.

    Returns:
        Corners (x, y), of shape (n, 2), n at least 3; and the number of pieces and holes.
    """
    outlines = rings(crop)
    polygon = joined(outlines)
    return polygon, len(outlines)


def filled(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A polygon filled by OpenCV's ``fillPoly``, uint8 of shape (h, w)."""
    canvas = np.zeros(size, np.uint8)
    cv2.fillPoly(canvas, [polygon.astype(np.int32)], 1)
    return canvas
