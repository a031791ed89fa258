"""Paint regions over an image, with outlines, captions, and a legend.

All images are RGB, uint8, of shape (H, W, 3).
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from mmdet.structures import DetDataSample

from .captions import Layout, place_captions, text_size, write_text
from .legend import place_legend, present_labels
from .regions import PREDICTIONS, Regions
from .shades import class_colors, region_colors

ALPHA = 0.55
_HATCHING = ((0, 0), (2, 255))  # two of four stripes, to be seen on any image


def paint_prediction(
    image: np.ndarray, sample: DetDataSample, task: str, dataset_meta: Mapping
) -> np.ndarray:
    """Paint the prediction of a task over an image, with captions and a legend.

    Args:
        image: The image at the size of the prediction.
        sample: Sample with the prediction; all its instances are drawn.
        task: A task word.
        dataset_meta: ``classes``, and maybe a ``palette``.
    """
    classes = dataset_meta['classes']
    colors = class_colors(len(classes), dataset_meta.get('palette'))
    regions = PREDICTIONS[task][1](sample.cpu(), classes, 0.0)
    return paint(image, regions, colors, ALPHA, classes)


def paint(
    image: np.ndarray,
    regions: Regions,
    colors: np.ndarray,
    alpha: float,
    classes: Sequence[str] | None = None,
    title: str = '',
) -> np.ndarray:
    """Blend regions into a copy of the image, outline and name them.

    Regions of one label have shades of its colour. Void stays as it is, unknown pixels are hatched.
    Captions lie in their regions or next to them; those that have no room are left out, as is the
    legend.

    Args:
        image: The image.
        regions: Regions of the same size.
        colors: Colours of the classes, (K, 3).
        alpha: Opacity in [0, 1].
        classes: Names of the classes, for a legend of those that are seen; None for no legend.
        title: Text in the top left corner, may be empty.
    """
    region_map, layout = regions.region_map, Layout(image.shape[:2])
    painted = _blend(image, region_map, region_colors(region_map, regions.labels, colors), alpha)
    edges = _edges(region_map if regions.outline_map is None else regions.outline_map)
    painted[edges] = 255
    if title:
        layout.take(title_box(painted, title)[0])
    scale = max(0.3, min(image.shape[:2]) / 800)
    legend = None
    if classes is not None:
        entries = [(classes[k], colors[k]) for k in present_labels(region_map, regions.labels)]
        legend = place_legend(entries, edges, scale, layout)
    if legend is not None:
        legend.draw(painted)
    captions = regions.captions
    for caption, box in zip(captions, place_captions(region_map, captions, scale, layout)):
        if box is not None:
            write_text(painted, caption, box, scale)
    if title:
        write_title(painted, title)
    return painted


def _blend(
    image: np.ndarray, region_map: np.ndarray, shades: np.ndarray, alpha: float
) -> np.ndarray:
    """Shades (R + 1, 3) over the regions; others stay as they are, or are hatched."""
    image = np.ascontiguousarray(image)
    painted = cv2.addWeighted(image, 1 - alpha, shades[np.maximum(region_map, 0)], alpha, 0)
    np.copyto(painted, image, where=(region_map <= 0)[..., None])
    if (region_map < 0).any():
        stripe = np.add(*np.indices(region_map.shape)) // 2 % 4
        for number, grey in _HATCHING:
            painted[(region_map < 0) & (stripe == number)] = grey
    return painted


def _edges(numbers: np.ndarray) -> np.ndarray:
    """Mask of pixels whose number (H, W) differs from a neighbour's, bool."""
    numbers = numbers.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    return cv2.dilate(numbers, kernel) != cv2.erode(numbers, kernel)


def title_box(panel: np.ndarray, title: str) -> tuple[tuple[int, int, int, int], float]:
    """Box of the text of ``write_title``, (x, y, width, height), and the scale of its font."""
    scale = max(0.4, min(panel.shape[:2]) / 640)
    return (4, 0, *text_size(title, scale)), scale


def write_title(panel: np.ndarray, title: str) -> None:
    """Write a title into the top left corner of a panel."""
    write_text(panel, title, *title_box(panel, title))
