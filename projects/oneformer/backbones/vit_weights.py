"""Weights of a plain vision transformer of another size than the model: what can be resized is."""

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional as F

from ..kernels.portable import is_portable

_BIASES = ('.attn.q_bias', '.attn.v_bias')
_KERNEL, _POSITIONS = 'patch_embed.proj.weight', 'pos_embed'


def resize_positions(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int, antialias: bool
) -> Tensor:
    """Interpolate a table of positions, bicubic and in float32, to exactly a size.

    Args:
        table: Shape (1, prefix + old height * old width, C).
        old: Height and width of its grid.
        new: Height and width that it gets.
        prefix: Positions before those of the grid, which stay as they are.
        antialias: Whether to smooth before a grid becomes smaller.

    Returns:
        Shape (1, prefix + new height * new width, C).
    """
    if not is_portable() and old == new:
        return table
    grid = table[:, prefix:].float().unflatten(1, old).permute(0, 3, 1, 2)
    if is_portable():
        rows, columns = (
            bicubic_weights(before, after, antialias, table.device)
            for before, after in zip(old, new)
        )
        grid = rows @ grid @ columns.mT
    else:
        grid = F.interpolate(grid, size=new, mode='bicubic', antialias=antialias)
    resized = grid.flatten(2).transpose(1, 2).to(table.dtype)
    return torch.cat([table[:, :prefix], resized], dim=1)


def bicubic_weights(old: int, new: int, antialias: bool, device: torch.device) -> Tensor:
    """Weights (new, old) of torch's bicubic interpolation of an axis, for sizes of any kind.

    Other runtimes have filters of other numbers, above all where they are to smooth.
    """
    a = -0.5 if antialias else -0.75
    place = torch.arange(new, device=device) + 0.5
    scale = old / (place[-1] + 0.5)
    width = scale.clamp(min=1) if antialias else torch.ones((), device=device)
    center = (place * scale)[:, None]
    reach = 0 if antialias else 2  # pixels behind the edges, which repeat those at the edges
    pixel = torch.arange(-reach, old + reach, device=device)
    x = ((pixel + 0.5 - center) / width).abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    weights = weights / weights.sum(1, keepdim=True)
    if not reach:
        return weights
    inner = weights[:, reach:-reach]
    first = inner[:, :1] + weights[:, :reach].sum(1, keepdim=True)
    last = inner[:, -1:] + weights[:, -reach:].sum(1, keepdim=True)
    return torch.cat([first, inner[:, 1:-1], last], 1)


def _resized_kernel(kernel: Tensor, side: int) -> Tensor:
    """Kernel (C, 3, s, s) of patches for another side, as timm and EoMT resample it."""
    from timm.layers import resample_patch_embed

    return resample_patch_embed(kernel, [side, side])


def adapted(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], grid: tuple[int, int], antialias: bool
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Tensors of a file for a model, where sizes of images or biases of zero alone differ.

    Args:
        tensors: Tensors of the file by the model's names.
        own: Those of the model, whose values do not matter.
        grid: Height and width of the model's table of positions.
        antialias: See ``resize_positions``.

    Returns:
        Tensors; names of those that were interpolated; lines about biases.
    """
    result, resized, lines = dict(tensors), [], []
    kernel, ours = tensors.get(_KERNEL), own[_KERNEL]
    if kernel is not None and kernel.dim() == 4 and kernel.shape[-2:] != ours.shape[-2:]:
        result[_KERNEL] = _resized_kernel(kernel, ours.shape[-1])
        resized.append(_KERNEL)
    table, ours = tensors.get(_POSITIONS), own.get(_POSITIONS)
    if table is not None and ours is not None and table.dim() == 3:
        prefix = ours.shape[1] - grid[0] * grid[1]
        side = isqrt(max(0, table.shape[1] - prefix))
        is_square = side and side**2 == table.shape[1] - prefix
        if is_square and table.shape[1] != ours.shape[1]:
            result[_POSITIONS] = resize_positions(table, (side, side), grid, prefix, antialias)
            resized.append(_POSITIONS)
    theirs = [key for key in tensors if key.endswith(_BIASES)]
    wanted = [key for key in own if key.endswith(_BIASES)]
    if wanted and not theirs:  # timm's models without biases stand for biases of zero
        result.update({key: torch.zeros(own[key].shape) for key in wanted})
        lines.append('biases of queries and values: none in the file, which means zero')
    elif theirs and not wanted and not any(tensors[key].any() for key in theirs):
        result = {key: value for key, value in result.items() if key not in theirs}
        lines.append('biases of queries and values: zero in the file, and left out')
    return result, resized, lines
