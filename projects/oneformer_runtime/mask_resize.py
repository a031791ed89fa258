"""Two bilinear steps from mask logits to the image, one block of pixels at a time, in numpy.

The rules are those of the training side (``oneformer.kernels.mask_resize``): to the padded input,
cropped, to the image. An axis of the two steps is a matrix, of which a block needs a small band, so
masks of the size of the image never exist.

Shapes: n masks, h x w the 1/4 grid, H x W the size of the prediction, r x c a block of it and s x t
the part of the grid below the block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

BLOCK = 32, 128  # rows and columns of a block, which fits a cache


@dataclass(frozen=True)
class Block:
    """A block of the prediction and its weights over the grid.

    Attributes:
        rows: Rows of the prediction.
        columns: Columns of the prediction.
        grid_rows: Rows of the grid that the block depends on.
        grid_columns: Columns of the grid that the block depends on.
        vertical: Weights of shape (r, s).
        horizontal: Weights of shape (t, c).
    """

    rows: slice
    columns: slice
    grid_rows: slice
    grid_columns: slice
    vertical: np.ndarray
    horizontal: np.ndarray

    def source(self, masks: np.ndarray) -> np.ndarray:
        """The part of (n, h, w) that the block depends on, (n, s, t)."""
        return masks[:, self.grid_rows, self.grid_columns]

    def resize(self, source: np.ndarray) -> np.ndarray:
        """Bring (n, s, t) to the size of the prediction: (r, n, c)."""
        n, s, t = source.shape
        r, c = len(self.vertical), self.horizontal.shape[1]
        wide = source.transpose(1, 0, 2).reshape(s * n, t) @ self.horizontal
        return (self.vertical @ wide.reshape(s, n * c)).reshape(r, n, c)


@dataclass(frozen=True)
class MaskResize:
    """Bring mask logits to the size of the image.

    Attributes:
        grid: (height, width) of the logits.
        input_size: (height, width) of the padded input.
        content: (height, width) of the input without padding.
        size: (height, width) of the prediction.
    """

    grid: tuple[int, int]
    input_size: tuple[int, int]
    content: tuple[int, int]
    size: tuple[int, int]

    def blocks(self) -> Iterator[Block]:
        """The blocks of the prediction, row by row."""
        steps = zip(self.grid, self.input_size, self.content, self.size)
        vertical, horizontal = (
            _bands(*map(int, step), length) for step, length in zip(steps, BLOCK)
        )
        for rows, grid_rows, down in vertical:
            for columns, grid_columns, across in horizontal:
                yield Block(rows, columns, grid_rows, grid_columns, down.T, across)


def _interpolate(values: np.ndarray, size: int) -> np.ndarray:
    """Bilinear interpolation of (n, old) to (n, size), pixels being areas, in float32."""
    old = values.shape[1]
    # the product is not rounded before the difference is taken, as in torch
    scale = np.float64(np.float32(old) / np.float32(size))
    place = (scale * (np.arange(size) + 0.5) - 0.5).astype(np.float32)
    place = place.clip(0)
    left = place.astype(np.int64).clip(max=old - 1)
    right = (left + 1).clip(max=old - 1)
    share = (place - left.astype(np.float32)).clip(0, 1)
    return values[:, left] * (1 - share) + values[:, right] * share


def axis_matrix(grid: int, input_size: int, content: int, size: int) -> np.ndarray:
    """Weights (grid, size) of the two steps along an axis: interpolation of the unit vectors."""
    weights = _interpolate(np.eye(grid, dtype=np.float32), input_size)
    return _interpolate(weights[:, :content], size)


Band = tuple[slice, slice, np.ndarray]  # part of the prediction, of the grid, and its weights


@lru_cache(maxsize=64)  # a dataset has few sizes of images
def _bands(grid: int, input_size: int, content: int, size: int, length: int) -> list[Band]:
    """Cut the matrix of an axis into pieces of a length, with the part of the grid needed."""
    weights = axis_matrix(grid, input_size, content, size)
    bands = []
    for start in range(0, size, length):
        piece = weights[:, start : start + length]
        needed = np.flatnonzero(piece.any(1))
        part = slice(int(needed[0]), int(needed[-1]) + 1)
        columns = slice(start, start + piece.shape[1])
        bands.append((columns, part, np.ascontiguousarray(piece[part])))
    return bands
