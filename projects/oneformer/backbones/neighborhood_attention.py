"""Dilated neighbourhood attention (DiNAT): every pixel attends to a window of pixels around it.

Along an axis, a dilation of d splits the pixels into d subsequences (every d-th pixel), and a pixel
sees only its own. In a subsequence of length L, the pixel at position p sees the K positions from
clamp(p - K // 2, 0, L - K): at a border the window is shifted, not cut.

Tiles of nearby queries see nearly the same keys, so a tile attends densely to all keys that any of
its queries sees, with the others masked. The mask is part of the bias, and the same for all tiles
but those at a border: there are a few kinds of tiles, and each kind is one batched attention.

Shapes: B images, M heads, D channels of a head, C = M D, K kernel size; H, W height and width;
along an axis, T tiles of a kind with q queries and k keys each.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..host.transfers import send_all
from ..kernels.portable import is_portable

_TILE = 8  # queries along an axis


class TileKind(NamedTuple):
    """Tiles along one axis whose queries see their keys in the same way."""

    queries: Tensor  # T q, pixel coordinates
    keys: Tensor  # T k, pixel coordinates
    bias_index: Tensor  # q k, key minus query position plus K - 1; 2 K - 1 outside the window


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # or the first test leaves tensors no later training can use
def tile_axis(
    num_queries: int, num_keys: int, kernel_size: int, dilation: int, device: torch.device
) -> list[TileKind]:
    """Cut an axis into tiles, sorted by their kind.

    Args:
        num_queries: Pixels with a query, the first ones of the axis.
        num_keys: Pixels with a key; at least ``kernel_size * dilation``.
        kernel_size: Positions that a pixel sees.
        dilation: Distance of the positions, in pixels.
        device: Device of the tensors.
    """
    kinds: dict[tuple, tuple[list, list, Tensor]] = {}
    for first in range(min(dilation, num_queries)):
        length = len(range(first, num_keys, dilation))
        positions = torch.arange(len(range(first, num_queries, dilation)))
        starts = (positions - kernel_size // 2).clamp(0, length - kernel_size)
        for query, start in zip(positions.split(_TILE), starts.split(_TILE)):
            key = torch.arange(start[0], start[-1] + kernel_size)
            seen = (key >= start[:, None]) & (key < start[:, None] + kernel_size)
            index = torch.where(seen, key - query[:, None] + kernel_size - 1, 2 * kernel_size - 1)
            tiles = kinds.setdefault(
                (index.shape, tuple(index.flatten().tolist())), ([], [], index)
            )
            tiles[0].append(first + query * dilation)
            tiles[1].append(first + key * dilation)
    return [
        TileKind(*send_all([torch.stack(query), torch.stack(key), index], device))
        for query, key, index in kinds.values()
    ]


@lru_cache(maxsize=32)  # a few kinds of blocks for each of a few sizes of images
@torch.inference_mode(False)
def pixel_order(
    size: tuple[int, int],
    key_size: tuple[int, int],
    kernel_size: int,
    dilation: int,
    device: torch.device,
) -> Tensor:
    """Where the pixels of a map are among those of its tiles, in their order, of shape (H * W,).

    Args:
        size: (H, W) of the queries.
        key_size: (H', W') of the keys.
        kernel_size: Positions that a pixel sees along an axis.
        dilation: Distance of the positions, in pixels.
        device: Device of the tensor.
    """
    rows, columns = (
        tile_axis(queries, keys, kernel_size, dilation, device)
        for queries, keys in zip(size, key_size)
    )
    pixels = [
        _cross(row.queries * size[1], column.queries).flatten()
        for row, column in product(rows, columns)
    ]
    return torch.cat(pixels).argsort()


def neighborhood_attention(
    query: Tensor, key_value: Tensor, relative_bias: Tensor, dilation: int
) -> Tensor:
    """Attend from every pixel to its window.

    Args:
        query: Queries of shape (B, H, W, C), not scaled.
        key_value: Keys, then values, of shape (B, H', W', 2 C). It may be larger than ``query`` on
            the right and at the bottom, and measures at least K times the dilation.
        relative_bias: Bias of the scaled products, of shape (M, 2 K - 1, 2 K - 1), by the key's
            position minus the query's, in steps of the dilation.
        dilation: Distance of the pixels in a window.

    Returns:
        Attended values of shape (B, H, W, C).
    """
    num_images, height, width, channels = query.shape
    key_shape = key_value.shape[1:3]
    key_width = key_shape[1]
    num_heads = len(relative_bias)
    head_dim = channels // num_heads
    kernel_size = (relative_bias.shape[1] + 1) // 2
    rows, columns = (
        tile_axis(query.shape[axis], key_value.shape[axis], kernel_size, dilation, query.device)
        for axis in (1, 2)
    )
    query, key_value = query.flatten(1, 2), key_value.flatten(1, 2)
    bias = F.pad(relative_bias, (0, 1, 0, 1), value=-torch.inf).to(query.dtype)  # M 2K 2K
    attended = []
    for row, column in product(rows, columns):
        # four dimensions, or scaled_dot_product_attention takes its slow path on a CPU
        tile_bias = bias[None, :, row.bias_index[:, None, :, None], column.bias_index[:, None]]
        tile_bias = tile_bias.flatten(4).flatten(2, 3)  # 1 M q*q k*k
        pixel = _cross(row.queries * width, column.queries)  # T*T q*q
        seen = _cross(row.keys * key_width, column.keys)  # T*T k*k
        tile_query = query[:, pixel.flatten()].view(-1, pixel.shape[1], num_heads, head_dim)
        tile_key_value = key_value[:, seen.flatten()]
        tile_key_value = tile_key_value.view(-1, seen.shape[1], 2, num_heads, head_dim)
        tile_key, tile_value = tile_key_value.unbind(2)
        tile = F.scaled_dot_product_attention(
            tile_query.transpose(1, 2),
            tile_key.transpose(1, 2),
            tile_value.transpose(1, 2),
            tile_bias,
        )  # B*T*T M q*q D
        attended.append(tile.transpose(1, 2).reshape(num_images, -1, channels))
    order = pixel_order((height, width), tuple(key_shape), kernel_size, dilation, query.device)
    return torch.cat(attended, 1)[:, order].view(num_images, height, width, channels)


def _cross(rows: Tensor, columns: Tensor) -> Tensor:
    """Sums of all pairs, for tiles along rows (T, n) and columns (T', n'): (T T', n n')."""
    return (rows[:, None, :, None] + columns[:, None]).flatten(2).flatten(0, 1)


def axis_neighbours(
    length: int, kernel_size: int, dilation: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What each pixel of an axis sees, for an axis of any length.

    Args:
        length: Pixels of the axis; where it is shorter than the window, it counts as padded to it.
        kernel_size: Positions that a pixel sees.
        dilation: Distance of the positions, in pixels.
        device: Device of the results.

    Returns:
        Pixels (length, K), ``length`` for those of the padding, and places (length, K) in the
        table of biases, the key's position minus the query's plus K - 1.
    """
    pixel = torch.arange(length, device=device)
    first = pixel % dilation
    position = pixel // dilation
    padded = (pixel[-1] + 1).clamp(min=kernel_size * dilation)
    most = (padded - first + dilation - 1) // dilation - kernel_size  # of the window's first
    start = torch.minimum((position - kernel_size // 2).clamp(min=0), most)
    seen = start[:, None] + torch.arange(kernel_size, device=device)
    keys = (first[:, None] + seen * dilation).clamp(max=length)
    return keys, seen - position[:, None] + kernel_size - 1


def attend_by_rows(
    query: Tensor, key_value: Tensor, padding: Tensor, relative_bias: Tensor, dilation: int
) -> Tensor:
    """``neighborhood_attention`` by plain operators, for maps of any size.

    Args:
        query: Queries of shape (B, H, W, C), not scaled.
        key_value: Keys, then values, of shape (B, H, W, 2 C).
        padding: Key and value (2 C) around a map that is smaller than the window.
        relative_bias: See ``neighborhood_attention``.
        dilation: Distance of the pixels in a window.

    Returns:
        Attended values of shape (B, H, W, C).
    """
    B, H, W, C = query.shape
    M, K = len(relative_bias), (relative_bias.shape[1] + 1) // 2
    rows, row_bias = axis_neighbours(H, K, dilation, query.device)
    columns, column_bias = axis_neighbours(W, K, dilation, query.device)
    key_value = torch.cat([key_value, padding.expand(B, 1, W, -1)], 1)
    key_value = torch.cat([key_value, padding.expand(B, H + 1, 1, -1)], 2)
    query = (query * (C // M) ** -0.5).unflatten(3, (M, 1, -1))  # B H W M 1 D
    scores, values = [], []
    for i in range(K):
        seen = key_value[:, rows[:, i]][:, :, columns]  # B H W K 2C
        key, value = seen.unflatten(4, (2, M, -1)).permute(4, 0, 1, 2, 5, 3, 6).unbind(0)
        bias = relative_bias[:, row_bias[:, i, None, None], column_bias]  # M H W K
        scores.append((query @ key.mT)[..., 0, :] + bias.permute(1, 2, 0, 3))  # B H W M K
        values.append(value)  # B H W M K D
    weights = torch.cat(scores, -1).softmax(-1).split(K, -1)
    attended = [weight[..., None, :] @ value for weight, value in zip(weights, values)]
    return sum(attended[1:], attended[0]).flatten(3)


class NeighborhoodAttention(nn.Module):
    """Dilated neighbourhood attention with the parameters of NATTEN 0.14.

    Args:
        channels: C.
        num_heads: M.
        kernel_size: K, odd.
        dilation: Distance of the pixels in a window.
        attend: Function like ``neighborhood_attention``.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        kernel_size: int,
        dilation: int,
        attend: Callable[[Tensor, Tensor, Tensor, int], Tensor] = neighborhood_attention,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd, got {kernel_size}')
        if channels % num_heads:
            raise ValueError(f'{channels} channels cannot be split into {num_heads} heads')
        self.window = kernel_size * dilation
        self.dilation = dilation
        self.attend = attend
        self.qkv = nn.Linear(channels, 3 * channels)
        self.rpb = nn.Parameter(torch.zeros(num_heads, 2 * kernel_size - 1, 2 * kernel_size - 1))
        self.proj = nn.Linear(channels, channels)
        nn.init.trunc_normal_(self.rpb, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape.

        A map smaller than the window is seen as if it were padded with zeros on the right and at
        the bottom. As in the original, the padding is seen: its keys and values are the bias.
        """
        num_images, height, width, channels = x.shape
        query, key_value = self.qkv(x).split([channels, 2 * channels], -1)
        if is_portable():
            padding = self.qkv.bias[channels:]
            attended = attend_by_rows(query, key_value, padding, self.rpb, self.dilation)
            return self.proj(attended)
        if min(height, width) < self.window:
            size = (num_images, max(height, self.window), max(width, self.window), 2 * channels)
            padded = self.qkv.bias[channels:].to(key_value.dtype).expand(size).clone()
            padded[:, :height, :width] = key_value
            key_value = padded
        return self.proj(self.attend(query, key_value, self.rpb, self.dilation))
