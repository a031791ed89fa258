"""Large images in overlapping windows: the network sees one, or a few, at a time.

So its memory does not depend on the size of the image. ``merged_windows`` makes one set of outputs
from those of the windows.

Shapes: B images, h x w the 1/4 grid of the image, y x x the pixels of a window.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import TypeVar

import torch
from torch import Tensor

from .merged_windows import MergedWindows, Window
from .oneformer_head import BatchOutputs

_STRIDE = 4  # of the grid
_ALIGNMENT = 32  # windows begin where all maps of the backbone have a cell

T = TypeVar('T')


def check_window(window: Mapping) -> None:
    """Check ``test_cfg.window``.

    Raises:
        ValueError: For other keys than ``size``, ``overlap`` and perhaps ``batch``, and for numbers
            that do not work.
    """
    if set(window) - {'batch'} != {'size', 'overlap'}:
        raise ValueError(
            f'model.test_cfg.window has the keys {sorted(window)}, but takes size and overlap, and '
            'optionally batch'
        )
    size, overlap = window['size'], window['overlap']
    if any(side % _ALIGNMENT or side <= 0 for side in (size, overlap)) or 2 * overlap > size:
        raise ValueError(
            f'model.test_cfg.window has size {size} and overlap {overlap}, but both must be '
            f'positive multiples of {_ALIGNMENT}, and overlap at most half of size'
        )
    batch = window.get('batch', 1)
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ValueError(
            f'model.test_cfg.window has batch {batch!r}: it has to be a whole number of at least '
            '1, the windows that the network sees at once'
        )


def window_places(image: tuple[int, int], window: Mapping) -> list[tuple[slice, slice]]:
    """Rows and columns of the windows of an image, row by row.

    Args:
        image: (height, width) of the padded input.
        window: ``size`` of a window's sides and ``overlap`` of neighbours at least, in pixels.
    """
    rows, columns = (_spans(length, window['size'], window['overlap']) for length in image)
    return list(product(rows, columns))


def _spans(length: int, size: int, overlap: int) -> list[slice]:
    """The windows of an axis."""
    shown = min(size, length)
    starts = [*range(0, length - shown, size - overlap), length - shown]
    return [slice(start, start + shown) for start in starts]


def batched(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """The items in lists of ``size``, and the rest."""
    upcoming = iter(items)
    while some := list(islice(upcoming, size)):
        yield some


class WindowedOutputs:
    """Outputs of the network for a batch of large images, as ``BatchOutputs`` of small ones.

    Args:
        run_network: Function of images (n, 3, y, x) that returns their ``BatchOutputs``.
        batch_inputs: Images of shape (B, 3, height, width).
        contents: (height, width) of each image without padding.
        window: See ``test_cfg.window`` of the model.
    """

    def __init__(
        self,
        run_network: Callable[[Tensor], BatchOutputs],
        batch_inputs: Tensor,
        contents: Sequence[tuple[int, int]],
        window: Mapping,
    ) -> None:
        places = window_places(batch_inputs.shape[-2:], window)
        self.corners = [tuple(axis.start // _STRIDE for axis in place) for place in places]
        self.outputs: list[BatchOutputs] = []
        for some in batched(places, window.get('batch', 1)):
            shown = [batch_inputs[..., rows, columns] for rows, columns in some]
            together = torch.cat(shown) if len(shown) > 1 else shown[0]
            self.outputs += run_network(together).split(len(some))
        self.contents = contents

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) of the 1/4 grid of the images."""
        (top, left), (h, w) = self.corners[-1], self.outputs[-1].grid
        return top + h, left + w

    def of_image(self, b: int, task: str) -> 'Window | MergedWindows':
        """Outputs for an image and a task."""
        found = [outputs.of_image(b, task) for outputs in self.outputs]
        windows = [Window(**vars(one), top=y, left=x) for one, (y, x) in zip(found, self.corners)]
        return merge_windows(windows, self.contents[b])


def merge_windows(windows: Sequence[Window], content: tuple[int, int]) -> 'Window | MergedWindows':
    """Outputs for an image from those for its windows.

    Args:
        windows: Windows in the order of ``window_places``.
        content: (height, width) of the input without padding. Windows that are not needed to cover
            it are left out, so the prediction does not depend on the other images of the batch.
    """
    bottom = _last_needed([window.bottom for window in windows], content[0])
    right = _last_needed([window.right for window in windows], content[1])
    windows = [w for w in windows if w.bottom <= bottom and w.right <= right]
    return windows[0] if len(windows) == 1 else MergedWindows(windows)


def _last_needed(ends: Sequence[int], content: int) -> int:
    """The first end of a window beyond the content and the point that interpolation needs."""
    return min((end for end in ends if end * _STRIDE >= content + _STRIDE), default=max(ends))
