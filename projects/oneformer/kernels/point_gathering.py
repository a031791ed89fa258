"""The core of deformable attention on a CPU: bags of weighted rows instead of image sampling.

A bilinear sample is a weighted sum of four rows of a table with one row per pixel and head. All
samples of a query and head, four rows for each, are one bag, and the sum over a bag is what
``embedding_bag`` does without writing the rows down. Its gradient to the table is again a sum over
bags, once the rows are sorted. The function is mmcv's ``multi_scale_deformable_attn_pytorch``.

Shapes: B images, N queries, M heads, L levels, P points per level, C channels, R rows of the table.
Levels have a border of one zero pixel in the table, so samples need no test for the edge.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmcv.ops import point_sample
from torch import Tensor


class Grid(NamedTuple):
    """Places of the pixels of all levels in the table.

    Attributes:
        shapes: (height, width) of each level.
        starts: Index of the first pixel of each level, border included.
        size: Number of pixels of an image. Some at the end are for points clamped to the edge.
        limit_x: Greatest x for each of the L * P points, in pixels, of shape (L * P,).
        limit_y: Greatest y for each of these points, in pixels, of the same shape.
        pitch: Pixels in a row of each point's level, of the same shape.
        origin: ``starts`` of each point's level, of the same shape.
    """

    shapes: tuple[tuple[int, int], ...]
    starts: tuple[int, ...]
    size: int
    limit_x: Tensor
    limit_y: Tensor
    pitch: Tensor
    origin: Tensor


@lru_cache(maxsize=32)
def make_grid(shapes: tuple[tuple[int, int], ...], num_points: int, dtype: torch.dtype) -> Grid:
    """Lay out levels of these (height, width) for P points in each."""
    starts = [0]
    for height, width in shapes:
        starts.append(starts[-1] + (height + 2) * (width + 2))
    heights, widths = torch.tensor(shapes, dtype=dtype).repeat_interleave(num_points, 0).unbind(1)
    # a point on the last row and column of the border reads the row and pixel behind it, times zero
    return Grid(
        shapes,
        tuple(starts[:-1]),
        starts[-1] + shapes[-1][1] + 4,
        widths + 1,
        heights + 1,
        widths + 2,
        torch.tensor(starts[:-1], dtype=dtype).repeat_interleave(num_points),
    )


def fill_table(value: Tensor, grid: Grid) -> Tensor:
    """Put values (B, N, M, C) at their places in a table (B, R / (B M), M, C)."""
    table = value.new_zeros(len(value), grid.size, *value.shape[2:])
    for inner, level in zip(_inner(table, grid), _levels(value, grid)):
        inner.copy_(level)
    return table


def read_table(table: Tensor, grid: Grid) -> Tensor:
    """The inverse of ``fill_table``."""
    return torch.cat([inner.flatten(1, 2) for inner in _inner(table, grid)], 1)


def _inner(table: Tensor, grid: Grid) -> list[Tensor]:
    """Each level without its border, a view (B, h, w, M, C)."""
    return [
        table[:, start : start + (h + 2) * (w + 2)].unflatten(1, (h + 2, w + 2))[:, 1:-1, 1:-1]
        for start, (h, w) in zip(grid.starts, grid.shapes)
    ]


def _levels(value: Tensor, grid: Grid) -> list[Tensor]:
    """Each level of (B, N, M, C) as a view (B, h, w, M, C)."""
    parts = value.split([h * w for h, w in grid.shapes], dim=1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, grid.shapes)]


class Corners(NamedTuple):
    """The four pixels around each sample, in the order (0, 0), (0, 1), (1, 0), (1, 1) of (y, x).

    Attributes:
        rows: Rows of the table, int32 of shape (B, N, M, 4, L * P).
        weights: Weights of the rows, of the same shape.
        x: Share of the right pixels, 0 to 1, of shape (B, N, M, L * P).
        y: Share of the lower pixels, 0 to 1, of the same shape.
    """

    rows: Tensor
    weights: Tensor
    x: Tensor
    y: Tensor


def find_corners(x: Tensor, y: Tensor, attention: Tensor, grid: Grid) -> Corners:
    """Resolve samples to rows.

    Args:
        x: Pixel coordinates along x with the border at 0, of shape (B, N, M, L * P).
        y: Pixel coordinates along y, of the same shape.
        attention: Weight of each sample, of the same shape.
        grid: Layout of the table.
    """
    B, _, M, _ = x.shape
    x = torch.minimum(x.clamp(min=0), grid.limit_x)
    y = torch.minimum(y.clamp(min=0), grid.limit_y)
    left, top = x.floor(), y.floor()
    x, y = x.sub_(left), y.sub_(top)
    pixel = top.mul_(grid.pitch).add_(left).add_(grid.origin).int()
    pixel.clamp_(0, grid.size - 1)  # nan has no pixel
    image = torch.arange(B, dtype=torch.int32)[:, None] * (grid.size * M)
    row = pixel.mul_(M).add_((image + torch.arange(M, dtype=torch.int32))[:, None, :, None])

    rows = row.new_empty(*row.shape[:3], 4, row.shape[3])
    weights = attention.new_empty(rows.shape)
    lower = attention * y
    upper = attention - lower
    for half, share in enumerate((upper, lower)):
        left, right = 2 * half, 2 * half + 1
        torch.mul(share, x, out=weights[..., right, :])
        torch.sub(share, weights[..., right, :], out=weights[..., left, :])
        rows[..., left, :] = row
        torch.add(row, M, out=rows[..., right, :])
        row = row.add_(grid.pitch.int() * M)
    return Corners(rows, weights, x, y)


def softmax(scores: Tensor) -> Tensor:
    """Softmax of the last axis, which torch's own is slow at for a dozen numbers."""
    scores = (scores - scores.amax(-1, keepdim=True)).exp_()
    return scores.div_(scores.sum(-1, keepdim=True))


class _GatherPoints(torch.autograd.Function):
    """See ``gather_points``; the backward pass finds the corners again, which costs little."""

    @staticmethod
    def forward(ctx, value, x, y, scores, grid):
        attention = softmax(scores)
        table = fill_table(value, grid)
        corners = find_corners(x, y, attention, grid)
        ctx.save_for_backward(table, x, y, attention)
        ctx.grid = grid
        size = corners.rows[0, 0, 0].numel()
        return F.embedding_bag(
            corners.rows.view(-1),
            table.flatten(0, 2),
            _starts_of_bags(corners.rows, size),
            mode='sum',
            per_sample_weights=corners.weights.view(-1),
        ).view(*x.shape[:3], -1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        table, x, y, attention = ctx.saved_tensors
        grid = ctx.grid
        corners = find_corners(x, y, attention, grid)
        bags = gradient.flatten(0, 2).contiguous()  # BNM C
        rows = corners.rows.view(-1)
        size = corners.rows[0, 0, 0].numel()

        table_gradient = _scatter(corners, bags, table, grid)
        bag_of = torch.arange(len(bags), dtype=torch.int32).repeat_interleave(size)
        per_row = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            bags, table.flatten(0, 2), rows, _starts_of_bags(rows, size), bag_of, 0
        ).view(corners.rows.shape)
        upper_left, upper_right, lower_left, lower_right = per_row.unbind(-2)
        upper = upper_left + corners.x * (upper_right - upper_left)
        lower = lower_left + corners.x * (lower_right - lower_left)
        right = upper_right + corners.y * (lower_right - upper_right)
        left = upper_left + corners.y * (lower_left - upper_left)
        per_sample = upper + corners.y * (lower - upper)
        inside_x = (x > 0) & (x < grid.limit_x)
        inside_y = (y > 0) & (y < grid.limit_y)
        return (
            read_table(table_gradient, grid),
            attention * (right - left) * inside_x,
            attention * (lower - upper) * inside_y,
            attention * (per_sample - (attention * per_sample).sum(-1, keepdim=True)),
            None,
        )


def _scatter(corners: Corners, bags: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Add each bag (B N M, C) to the rows it was taken from, times their weights.

    Only the first of the four corners is sorted: the others lie beside and below it, so their sums
    are moved by a pixel, a row of pixels, or both.

    Returns:
        Sums of the same shape as the table.
    """
    first = corners.rows[..., 0, :].flatten()
    per_bag = corners.rows.shape[-1]
    _, order = first.sort(stable=True)
    count = first.bincount(minlength=table[..., 0].numel())
    starts = count.cumsum(0).sub_(count)
    # in floating point, where processors can divide several numbers at once
    bag = order.double().add_(0.5).mul_(1 / per_bag).long()
    total = torch.zeros_like(table)
    for corner in range(4):
        weights = corners.weights[..., corner, :].flatten()[order]
        part = F.embedding_bag(bag, bags, starts, mode='sum', per_sample_weights=weights)
        part = part.view(table.shape)
        for start, (h, w) in zip(grid.starts, grid.shapes):
            shift = (corner // 2) * (w + 2) + corner % 2
            end = start + (h + 2) * (w + 2)
            total[:, start + shift : end] += part[:, start : end - shift]
    return total


def _starts_of_bags(rows: Tensor, size: int) -> Tensor:
    return torch.arange(0, rows.numel(), size, dtype=torch.int32)


def gather_points(
    value: Tensor,
    shapes: Sequence[tuple[int, int]],
    centres: Tensor,
    offsets: Tensor,
    scores: Tensor,
) -> Tensor:
    """Sum bilinear samples of all levels, zero outside, on a CPU.

    Args:
        value: Values of shape (B, number of pixels, M, C).
        shapes: (height, width) of the levels.
        centres: Reference points of the offsets, (x, y) in [0, 1], of shape (N, 2).
        offsets: (x, y) in pixels of the level, of shape (B, N, M, L, P, 2).
        scores: Logits of shape (B, N, M, L * P), whose softmax weighs the samples.

    Returns:
        Sums of shape (B, N, M, C).
    """
    P = offsets.shape[4]
    grid = make_grid(tuple(shapes), P, offsets.dtype)
    sizes = torch.tensor(shapes, dtype=offsets.dtype).flip(1)  # L 2, (width, height)
    # centres are at half pixels, and the border shifts by one
    base = (centres[:, None] * sizes + 0.5).repeat_interleave(P, 1)  # N LP 2
    # each coordinate by itself: sums over a last axis of two are slow
    x, y = (a + b for a, b in zip(offsets.flatten(3, 4).unbind(-1), base[:, None].unbind(-1)))
    return _GatherPoints.apply(value, x, y, scores, grid)


@torch.no_grad()
def sample_pixels(features: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of all channels at many points, without gradient.

    The function is mmcv's ``point_sample``, which is slow on a CPU for many channels.

    Args:
        features: Features of shape (1, C, h, w); fast if their memory has the channels last.
        points: (x, y) in [0, 1], of shape (N, 2).

    Returns:
        Samples of shape (N, C).
    """
    if features.device.type != 'cpu':
        return point_sample(features, points[None])[0].mT
    h, w = features.shape[2:]
    x, y = (points * points.new_tensor([w, h]) - 0.5).unbind(1)
    left, top = x.floor(), y.floor()
    columns = torch.stack([left, left + 1], 1)[:, None]  # N 1 2
    rows = torch.stack([top, top + 1], 1)[:, :, None]  # N 2 1
    weights = (1 - (y[:, None, None] - rows).abs()) * (1 - (x[:, None, None] - columns).abs())
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    pixels = rows.clamp(0, h - 1) * w + columns.clamp(0, w - 1)  # N 2 2
    return F.embedding_bag(
        pixels.flatten(1).int(),
        features[0].permute(1, 2, 0).flatten(0, 1),
        mode='sum',
        per_sample_weights=(weights * inside).flatten(1),
    )
