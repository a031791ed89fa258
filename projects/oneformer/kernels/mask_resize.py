"""The original's two bilinear steps from mask logits to the image, one block of pixels at a time.

Bilinear interpolation is a matrix for the rows and one for the columns, and so are two of them with
a crop in between. A block of the prediction needs a small band of each, and its size is that of the
logits it needs, whatever the image's.

Shapes: n masks, h x w the 1/4 grid, H x W the size of the prediction, r x c a block of it and s x t
the part of the grid below the block.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# (rows, columns) of a block: what fits a cache on a CPU; on a GPU fewer and larger launches
_BLOCK = dict(cpu=(32, 128))
_LARGE_BLOCK = (256, 512)


@dataclass(frozen=True)
class Block:
    """A block of the prediction and its weights over the grid.

    Attributes:
        rows: Rows of the prediction, a slice.
        columns: Columns of the prediction, a slice.
        grid_rows: Rows of the grid that the block depends on, a slice.
        grid_columns: Columns of the grid that the block depends on, a slice.
        vertical: Weights of shape (r, s).
        horizontal: Weights of shape (t, c).
    """

    rows: slice
    columns: slice
    grid_rows: slice
    grid_columns: slice
    vertical: Tensor
    horizontal: Tensor

    def source(self, masks: Tensor) -> Tensor:
        """The part of (..., h, w) that the block depends on, (..., s, t)."""
        return masks[..., self.grid_rows, self.grid_columns]

    def resize(self, source: Tensor) -> Tensor:
        """Bring (n, s, t) to the size of the prediction: (r, n, c)."""
        n, s, t = source.shape
        r, c = len(self.vertical), self.horizontal.shape[1]
        wide = source.transpose(0, 1).reshape(s * n, t) @ self.horizontal  # (s n) c
        return (self.vertical @ wide.view(s, n * c)).view(r, n, c)


class MaskResize:
    """Bring mask logits to the size of the image: to the padded input, cropped, to the image.

    Args:
        grid: (height, width) of the logits, 1/4 of the padded input.
        input_size: (height, width) of the padded input.
        content: (height, width) of the input without padding.
        size: (height, width) of the prediction.
        device: Device of the logits.
        block: Largest (rows, columns) of a block; by default they suit the device.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        input_size: tuple[int, int],
        content: tuple[int, int],
        size: tuple[int, int],
        device: torch.device | str = 'cpu',
        block: tuple[int, int] | None = None,
    ) -> None:
        self.size = tuple(size)
        self.device = torch.device(device)
        rows, columns = block or _BLOCK.get(self.device.type, _LARGE_BLOCK)
        steps = zip(grid, input_size, content, size)
        self._vertical, self._horizontal = (
            list(_bands(axis_matrix(*step), length, self.device))
            for step, length in zip(steps, (rows, columns))
        )

    def blocks(self) -> Iterator[Block]:
        """The blocks of the prediction, row by row."""
        for rows, grid_rows, vertical in self._vertical:
            for columns, grid_columns, horizontal in self._horizontal:
                yield Block(rows, columns, grid_rows, grid_columns, vertical.T, horizontal)


def axis_matrix(grid: int, input_size: int, content: int, size: int) -> Tensor:
    """Weights (grid, size) of the two steps along an axis: interpolation of the unit vectors."""
    weights = F.interpolate(torch.eye(grid)[None], size=input_size, mode='linear')
    return F.interpolate(weights[..., :content], size=size, mode='linear')[0]


def _bands(
    weights: Tensor, length: int, device: torch.device
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Cut (grid, size) weights into pieces of the prediction, with the part of the grid needed."""
    for start in range(0, weights.shape[1], length):
        piece = weights[:, start : start + length]
        needed = piece.any(1).nonzero()
        first, last = int(needed[0]), int(needed[-1])
        band = piece[first : last + 1].contiguous().to(device)
        yield slice(start, start + band.shape[1]), slice(first, last + 1), band
