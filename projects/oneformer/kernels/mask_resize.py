"""The original's two bilinear steps from mask logits to the image, one block of pixels at a time.

Bilinear interpolation is a matrix for the rows and one for the columns, and so are two of them with
a crop in between. A block of the prediction needs a small band of each, and its size is that of the
logits it needs, whatever the image's.

Shapes: n masks, h x w the 1/4 grid, H x W the size of the prediction, r x c a block of it and s x t
the part of the grid below the block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..host.transfers import send

# (rows, columns) of a block: on a CPU what fits a cache
_BLOCK = dict(cpu=(32, 128))
# Elsewhere few launches. The matrix of an axis has a band, of which a larger block multiplies more
# zeros; these launches are far longer than their queueing already.
_LARGE_BLOCK = (256, 512)
_SHARE_OF_MEMORY = 1 / 16  # that the tensors of a block may take
_BYTES_OF_PIXEL = 4 * 4 * 256  # four tensors of float32 for 256 queries


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
        steps = zip(grid, input_size, content, size)
        self._vertical, self._horizontal = (
            _bands(tuple(map(int, step)), length, self.device, torch.get_default_dtype())
            for step, length in zip(steps, block or block_size(self.device))
        )

    def blocks(self) -> Iterator[Block]:
        """The blocks of the prediction, row by row."""
        for rows, grid_rows, vertical in self._vertical:
            for columns, grid_columns, horizontal in self._horizontal:
                yield Block(rows, columns, grid_rows, grid_columns, vertical.T, horizontal)


@lru_cache
def block_size(device: torch.device) -> tuple[int, int]:
    """(rows, columns) of a block that suit a device, by its memory where that is known."""
    rows, columns = _BLOCK.get(device.type, _LARGE_BLOCK)
    if device.type == 'cuda' and torch.cuda.is_available():
        allowed = _SHARE_OF_MEMORY * torch.cuda.get_device_properties(device).total_memory
        while rows > 32 and rows * columns * _BYTES_OF_PIXEL > allowed:
            rows //= 2
    return rows, columns


def axis_matrix(grid: int, input_size: int, content: int, size: int) -> Tensor:
    """Weights (grid, size) of the two steps along an axis: interpolation of the unit vectors."""
    unit = torch.eye(grid)[None]
    weights = F.interpolate(unit, size=input_size, mode='linear')
    return F.interpolate(weights[..., :content], size=size, mode='linear')[0]


Band = tuple[slice, slice, Tensor]  # a part of the prediction, that of the grid, and its weights


@lru_cache(maxsize=64)  # a dataset has few sizes of images
def _bands(
    step: tuple[int, int, int, int], length: int, device: torch.device, dtype: torch.dtype
) -> Sequence[Band]:
    """Cut the matrix of an axis into pieces of the prediction, with the part of the grid needed.

    Args:
        step: Arguments of ``axis_matrix``.
        length: Length of a piece.
        device: Device of the weights, which get there by one copy.
        dtype: torch's default type.
    """
    with torch.inference_mode(False), torch.no_grad():  # they may serve in other modes later
        weights = axis_matrix(*step)
        spans, pieces = [], []
        for start in range(0, weights.shape[1], length):
            piece = weights[:, start : start + length]
            needed = piece.any(1).nonzero()
            part = slice(int(needed[0]), int(needed[-1]) + 1)
            spans.append((slice(start, start + piece.shape[1]), part))
            pieces.append(piece[part].contiguous())
        sizes = [piece.numel() for piece in pieces]
        flat = send(torch.cat([piece.flatten() for piece in pieces]), device).split(sizes)
        return [
            (*span, values.view(piece.shape)) for span, values, piece in zip(spans, flat, pieces)
        ]
