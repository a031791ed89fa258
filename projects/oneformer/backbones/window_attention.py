"""Swin's attention within windows, which keeps no weights.

In a shifted map, windows of the last row and column hold two parts that are not neighbours and do
not see each other. So there are four kinds of windows, each with one bias for all its windows: the
kinds are attended to one after the other, and no bias is made for every window.

Shapes: B images, H x W a map, C channels, M heads, D channels of a head, n windows of s x s tokens,
N = s * s.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from mmdet.models.backbones.swin import ShiftWindowMSA
from mmengine.model import BaseModule
from torch import Tensor

from ..kernels.biased_attention import attend_with_bias
from ..kernels.portable import is_portable

_APART = -100.0  # what the original adds to scores of parts that do not see each other

Place = tuple[slice, slice]  # rows and columns of windows
Attention = Callable[..., Tensor]  # of query, key, value, bias and scale, see attend_with_bias


def masks_of_kinds(size: int, shift: int) -> Tensor:
    """What is added to the scores of each kind of window, of shape (kinds, N, N).

    Kinds are windows inside, in the last column, in the last row and in the corner; the first alone
    without a shift.
    """
    late = torch.arange(size) >= size - shift  # tokens that come from the other side
    masks = []
    for last_row, last_column in ((0, 0), (0, 1), (1, 0), (1, 1)) if shift else ((0, 0),):
        part = (2 * last_row * late[:, None] + last_column * late).flatten()
        masks.append(torch.where(part[:, None] == part, 0.0, _APART))
    return torch.stack(masks)


def places_of_kinds(shift: int) -> list[Place]:
    """Where the windows of each kind are."""
    if not shift:
        return [(slice(None), slice(None))]
    most, last = slice(None, -1), slice(-1, None)
    return [(most, most), (most, last), (last, most), (last, last)]


def position_bias(table: Tensor, size: int) -> Tensor:
    """Bias of every pair of tokens in a window, by their distance along both axes.

    Args:
        table: Biases of shape ((2 s - 1) ** 2, M), of a query's position minus a key's.
        size: s.

    Returns:
        Tensor of shape (M, N, N).
    """
    table = table.view(2 * size - 1, 2 * size - 1, -1)
    # windows over the table are views, whose backward pass adds up without sorting
    pairs = table.unfold(0, size, 1).unfold(1, size, 1)  # s s M s s, query and s - 1 - key
    return pairs.flip(3, 4).permute(2, 0, 1, 3, 4).flatten(3, 4).flatten(1, 2)


def by_kinds(grid: Tensor, places: Sequence[Place]) -> list[Tensor]:
    """Windows (B, h, s, w, s, C) of each kind, as tokens (n, N, C)."""
    parts = [grid[:, rows, :, columns].transpose(2, 3) for rows, columns in places]
    return [part.flatten(3, 4).flatten(0, 2) for part in parts]


def as_grid(parts: Sequence[Tensor], rows: int, columns: int, size: int) -> Tensor:
    """The inverse of ``by_kinds``: windows of each kind as a map (B, rows * s, columns * s, C)."""
    counts = [(rows, columns)]
    if len(parts) > 1:
        counts = [(rows - 1, columns - 1), (rows - 1, 1), (1, columns - 1), (1, 1)]
    channels = parts[0].shape[-1]
    images = len(parts[-1]) // (counts[-1][0] * counts[-1][1])
    maps = [
        part.view(images, h, w, size, size, channels).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        for part, (h, w) in zip(parts, counts)
    ]
    if len(maps) == 1:
        return maps[0]
    return torch.cat([torch.cat(maps[:2], 2), torch.cat(maps[2:], 2)], 1)


class WindowAttention(ShiftWindowMSA):
    """mmdet's ``ShiftWindowMSA`` with the same tensors, without a tensor of attention weights.

    Windows are attended to by torch's fused function. On a CPU it gives no gradient to a bias: with
    gradients it is ``attend_with_bias`` there, and mmdet's explicit product where weights are
    dropped, under autocast, and in a compiled model.

    Args:
        attention: mmdet's module, whose parts this one has from then on.
    """

    def __init__(self, attention: ShiftWindowMSA) -> None:
        BaseModule.__init__(self, attention.init_cfg)
        self.window_size, self.shift_size = attention.window_size, attention.shift_size
        self.w_msa, self.drop = attention.w_msa, attention.drop
        masks = masks_of_kinds(self.window_size, self.shift_size)
        self.register_buffer('masks', masks, persistent=False)

    def forward(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend within windows.

        Args:
            query: Tokens of shape (B, H * W, C).
            hw_shape: (H, W).

        Returns:
            Tensor of the same shape.
        """
        if query.device.type != 'cpu':
            return self.attend(query, hw_shape)
        msa, autocast = self.w_msa, torch.is_autocast_enabled('cpu')
        # also without gradients: a checkpoint's two passes have to drop the same, and windows are
        # in another order there
        if self.training and (msa.attn_drop.p or autocast and msa.proj_drop.p):
            return super().forward(query, hw_shape)
        if not torch.is_grad_enabled():
            return self.attend(query, hw_shape)
        if autocast or torch.compiler.is_compiling():
            return super().forward(query, hw_shape)
        return self.attend(query, hw_shape, attend_with_bias)

    def attend(
        self, query: Tensor, hw_shape: tuple[int, int], attention: Attention | None = None
    ) -> Tensor:
        """``forward`` by an attention with a bias, torch's fused one by default."""
        if is_portable():  # there may be no windows of a kind, which is not known now
            return self._attend_with_masks(query, hw_shape)
        (height, width), size, shift = hw_shape, self.window_size, self.shift_size
        x = query.unflatten(1, (height, width))
        x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
        rows, columns = x.shape[1] // size, x.shape[2] // size
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        grid = x.unflatten(2, (columns, size)).unflatten(1, (rows, size))
        parts = by_kinds(grid, places_of_kinds(shift))
        x = as_grid(self._attend_windows(parts, attention or self._fused), rows, columns, size)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        x = x[:, :height, :width].flatten(1, 2)
        return self.drop(x)

    def _attend_with_masks(self, query: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """``attend`` with a mask for every window, for maps of any size."""
        (height, width), size, shift = hw_shape, self.window_size, self.shift_size
        msa = self.w_msa
        rows, columns = (height + size - 1) // size, (width + size - 1) // size
        x = query.unflatten(1, (height, width))
        x = F.pad(x, (0, 0, 0, columns * size - width, 0, rows * size - height))
        if shift:
            x = torch.cat([x[:, shift:], x[:, :shift]], 1)
            x = torch.cat([x[:, :, shift:], x[:, :, :shift]], 2)
        x = x.unflatten(2, (columns, size)).unflatten(1, (rows, size))
        x = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # B n N C
        numbers = msa.qkv(x).unflatten(-1, (3, msa.num_heads, -1))  # B n N 3 M D
        query, key, value = numbers.permute(3, 0, 1, 4, 2, 5).unbind(0)
        scores = query * msa.scale @ key.mT
        scores = scores + position_bias(msa.relative_position_bias_table, size)
        if shift:
            last_row = torch.arange(rows, device=x.device) == rows - 1
            last_column = torch.arange(columns, device=x.device) == columns - 1
            kind = 2 * last_row[:, None].long() + last_column
            scores = scores + self.masks[kind.flatten()][:, None]  # n 1 N N
        x = scores.softmax(-1) @ value  # B n M N D
        x = msa.proj(x.transpose(2, 3).flatten(3))
        x = x.unflatten(2, (size, size)).unflatten(1, (rows, columns)).transpose(2, 3)
        x = x.flatten(3, 4).flatten(1, 2)
        if shift:
            x = torch.cat([x[:, -shift:], x[:, :-shift]], 1)
            x = torch.cat([x[:, :, -shift:], x[:, :, :-shift]], 2)
        return x[:, :height, :width].flatten(1, 2)

    def _fused(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float
    ) -> Tensor:
        """torch's fused attention."""
        bias = bias[None].to(query.dtype)  # of four axes, or torch takes its slow path on a CPU
        dropout = self.w_msa.attn_drop.p if self.training else 0.0
        return F.scaled_dot_product_attention(query, key, value, bias, dropout, scale=scale)

    def _attend_windows(self, parts: Sequence[Tensor], attention: Attention) -> Sequence[Tensor]:
        """Attend within windows (n, N, C) of each kind, which may be none."""
        msa = self.w_msa
        counts = [len(part) for part in parts]
        numbers = msa.qkv(torch.cat(list(parts)) if len(parts) > 1 else parts[0])
        numbers = numbers.unflatten(-1, (3, msa.num_heads, -1)).transpose(1, 3)  # n M 3 N D
        bias = position_bias(msa.relative_position_bias_table, self.window_size)
        attended = []
        for part, mask in zip(numbers.split(counts), self.masks):
            if not len(part):
                continue
            found = attention(*part.unbind(2), bias + mask, msa.scale)
            attended.append(found.transpose(1, 2).flatten(2))
        attended = torch.cat(attended) if len(attended) > 1 else attended[0]
        return msa.proj_drop(msa.proj(attended)).split(counts)
