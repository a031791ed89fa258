"""The core of deformable attention for other runtimes: rows of a table, picked and summed.

``grid_sample`` is wrong or slow in some of them (TensorRT, WebGPU), so that none is used: the four
pixels around each point are gathered and weighted. The function is mmcv's
``multi_scale_deformable_attn_pytorch``, and any number in a shape may be a symbol of a tracer.

Shapes: B images, N tokens of all levels, M heads, L levels, P points, C channels of a head.
"""

import torch
from torch import Tensor

from .attention_levels import Levels


def gather_and_sum(value: Tensor, levels: Levels, offsets: Tensor, weights: Tensor) -> Tensor:
    """Deformable attention.

    Args:
        value: Values of shape (B, N, M, C).
        levels: Levels of the tokens.
        offsets: Offsets of the points from the tokens' centres in pixels, of shape
            (B, N, M, L, P, 2).
        weights: Weights of the points, of shape (B, N, M, L * P).

    Returns:
        Tensor of shape (B, N, M, C).
    """
    P = offsets.shape[4]
    parts = value.split([h * w for h, w in levels.shapes], dim=1)
    total: Tensor | None = None
    for i, (part, size) in enumerate(zip(parts, levels.shapes)):
        own = weights[..., i * P : (i + 1) * P]
        sampled = _sample(part, size, levels.centres, offsets[:, :, :, i], own)
        total = sampled if total is None else total + sampled
    assert total is not None
    return total


def _sample(
    value: Tensor, size: tuple[int, int], centres: Tensor, offsets: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sum of the samples of a level.

    Args:
        value: Values of the level, of shape (B, h * w, M, C).
        size: Size of the level, (h, w).
        centres: Centres of all tokens, of shape (N, 2).
        offsets: Offsets of shape (B, N, M, P, 2).
        weights: Attention weights of shape (B, N, M, P).
    """
    B, _, M, C = value.shape
    h, w = size
    x = centres[:, 0, None, None] * w + offsets[..., 0] - 0.5  # B N M P, in pixels
    y = centres[:, 1, None, None] * h + offsets[..., 1] - 0.5
    left, top = x.floor(), y.floor()
    right_share, bottom_share = x - left, y - top
    columns = ((left, 1 - right_share), (left + 1, right_share))
    rows = ((top, 1 - bottom_share), (top + 1, bottom_share))
    images = torch.arange(B, device=value.device)[:, None, None, None] * (h * w)
    heads = torch.arange(M, device=value.device)[:, None]
    places, shares = [], []
    for row, row_share in rows:
        for column, column_share in columns:
            inside = (row >= 0) & (row <= h - 1) & (column >= 0) & (column <= w - 1)
            pixel = row.clamp(0, h - 1) * w + column.clamp(0, w - 1)  # exact in float32
            places.append((images + pixel.long()) * M + heads)
            shares.append(row_share * column_share * weights * inside)
    picked = value.reshape(-1, C)[torch.cat(places, -1)]  # B N M 4P C
    return (torch.cat(shares, -1)[..., None] * picked).sum(-2)
