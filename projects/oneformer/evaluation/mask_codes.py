"""Run-length codes of the masks of a prediction, from the device that the masks are on.

Legend: N masks of H x W pixels.
"""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from ..host.transfers import fetch
from ..run_length import code_of_changes, encode_mask

_PIXELS = 1 << 28  # of the masks that a GPU compares at once; they need as many bytes again


def encode_masks(masks: Tensor) -> list[dict]:
    """Codes of masks (N, H, W), bool: those of pycocotools, byte for byte.

    A GPU finds where the masks begin and end, and only that is copied.
    """
    if not masks.is_cuda:
        return [encode_mask(mask) for mask in masks.cpu().numpy()]
    size = masks.shape[1:]
    return [code_of_changes(changes, *size) for changes in _changes(masks)]


def _changes(masks: Tensor) -> Iterator[np.ndarray]:
    """Where each mask on a GPU begins and ends, in the order of ``in_columns``."""
    _, height, width = masks.shape
    pixels = height * width
    for some in masks.split(max(1, _PIXELS // pixels)):
        differs = some.clone()
        differs[:, 1:] ^= some[:, :-1]
        differs[:, 0, 1:] ^= some[:, -1, :-1]  # the pixel before is the last of the column before
        number, y, x = differs.nonzero(as_tuple=True)
        (places,) = fetch((number * pixels + x * height + y).sort().values)
        starts = np.arange(len(some) + 1) * pixels
        ends = np.searchsorted(places.numpy(), starts)
        for start, first, last in zip(starts.tolist(), ends, ends[1:]):
            yield places.numpy()[first:last] - start
