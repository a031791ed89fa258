"""Draw ground truth and the predictions of the tasks side by side.

Every prediction is first brought to one form, a map of numbered regions with a label each, which
one function paints. All images are RGB, uint8, of shape (H, W, 3).
"""

from .painting import paint, paint_prediction, write_title
from .panels import side_by_side, text_below
from .regions import Regions
from .shades import class_colors
from .visualizer import OneFormerVisualizer

__all__ = [
    'OneFormerVisualizer',
    'Regions',
    'class_colors',
    'paint',
    'paint_prediction',
    'side_by_side',
    'text_below',
    'write_title',
]
