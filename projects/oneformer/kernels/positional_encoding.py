"""Sine positional encoding, one axis at a time: no entry depends on row and column both.

The function is mmdet's ``SinePositionalEncoding(C // 2, normalize=True)``.

Shapes: h x w grid, C channels: the first half tells the row, the second half the column.
"""

import math

import torch
from torch import Tensor


def axis_code(length: int, channels: int, device: torch.device) -> Tensor:
    """Encoding of the positions of one axis, of shape (length, channels), float32."""
    position = torch.arange(1, length + 1, dtype=torch.float32, device=device)
    position = position / (position[-1] + 1e-6) * (2 * math.pi)
    index = torch.arange(channels, dtype=torch.float32, device=device)
    angle = position[:, None] / 10000 ** (2 * (index // 2) / channels)
    return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), 2).flatten(1)


def positional_encoding(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Encoding of a grid's pixels row by row, of shape (h * w, C), float32."""
    rows = axis_code(height, channels // 2, device)[:, None].expand(-1, width, -1)
    columns = axis_code(width, channels // 2, device).expand(height, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)


def project_position(height: int, width: int, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear layer of the encoding, computed without forming the encoding.

    Args:
        height: h.
        width: w.
        weight: Weight of shape (D, C).
        bias: Bias of shape (D,).

    Returns:
        ``F.linear(positional_encoding(h, w, C), weight, bias)``, of shape (h * w, D).
    """
    half = weight.shape[1] // 2
    rows = axis_code(height, half, weight.device) @ weight[:, :half].mT  # h D
    columns = axis_code(width, half, weight.device) @ weight[:, half:].mT  # w D
    if bias is not None:
        columns = columns + bias
    return (rows[:, None] + columns).flatten(0, 1)
