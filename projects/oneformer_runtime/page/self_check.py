"""What the graph gives for a drawn pattern, by onnxruntime: a browser has to give the same.

``check.json`` of a page holds the size of the pattern, the task words, and of both kinds of logits
their number and every n-th of them.
"""

from typing import Any

import numpy as np

from ..description import TASKS, ModelDescription
from ..network import Network

_KEPT = 600  # numbers of each kind
_SIZE = 2, 3  # of the pattern, in multiples of the divisor, but of at least
_LEAST = 64, 96


def pattern(height: int, width: int) -> np.ndarray:
    """A pattern of ramps and squares, float32 of shape (1, 3, height, width), whole numbers.

    ``js/self_check.js`` of the page draws the same.
    """
    channel, y, x = np.ogrid[:3, :height, :width]
    ramp = 2 * x * (channel + 1) + 2 * y * (3 - channel)
    squares = 90 * (((x >> 4) + (y >> 4)) % 2)
    return (((ramp & 127) + squares + 20 * channel) & 255).astype(np.float32)[None]


def check_size(description: ModelDescription) -> tuple[int, int]:
    """(height, width) of the pattern, one that the graph takes."""
    if description.image.size is not None:
        return description.image.size
    divisor = description.image.divisor
    height, width = (
        max(factor, -(-least // divisor)) * divisor for factor, least in zip(_SIZE, _LEAST)
    )
    return height, width


def _sample(logits: np.ndarray) -> dict[str, Any]:
    flat = logits.ravel()
    stride = max(1, len(flat) // _KEPT) | 1  # odd, so that all columns are met
    values = [float(f'{value:.6g}') for value in flat[::stride]]
    return dict(length=len(flat), stride=stride, values=values)


def make_check(network: Network) -> dict[str, Any]:
    """Content of ``check.json``.

    Args:
        network: The graph in onnxruntime.
    """
    description = network.description
    words = [description.token] if description.token else list(TASKS)
    size = check_size(description)
    scores, masks = network(pattern(*size), words)
    return dict(size=list(size), words=words, classes=_sample(scores), masks=_sample(masks))
