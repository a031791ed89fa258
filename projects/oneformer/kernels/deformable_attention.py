"""Multi-scale deformable attention: mmcv's CUDA operator, a fast path on a CPU, or plain torch.

Shapes: B images, N tokens of all levels, M heads, L levels, P points, C channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmcv.ops import get_compiling_cuda_version
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from torch import Tensor

from ..host.compat import compiled_ops_available
from .dropout import dropout
from .point_gathering import gather_points


def choose_path(device: torch.device | str) -> tuple[str, str]:
    """Choose the implementation that runs on a device, and say why.

    Returns:
        ``('cuda', reason)``, ``('cpu', reason)`` or ``('torch', reason)``.
    """
    kind = torch.device(device).type
    if kind == 'cpu':
        return 'cpu', 'sums over bags of weighted rows, which need no operator of mmcv'
    if kind != 'cuda':
        return 'torch', f'the operator of mmcv is for CUDA; plain torch runs on {kind}'
    if not compiled_ops_available():
        return 'torch', 'mmcv was installed without compiled operators (mmcv._ext is missing)'
    if get_compiling_cuda_version() == 'not available':
        return 'torch', 'mmcv._ext was compiled without CUDA'
    return 'cuda', 'mmcv._ext is compiled with CUDA'


class Levels(NamedTuple):
    """The maps whose tokens attend to each other.

    Attributes:
        shapes: (height, width) of each.
        sizes: The same as int64 of shape (L, 2).
        starts: Index of each level's first token, int64 of shape (L,).
        centres: Centres of the tokens, (x, y) in [0, 1], of shape (N, 2).
    """

    shapes: list[tuple[int, int]]
    sizes: Tensor
    starts: Tensor
    centres: Tensor

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, int]], device: torch.device) -> 'Levels':
        """Describe levels of these (height, width)."""
        sizes = torch.tensor(shapes, device=device)
        counts = sizes.prod(1)
        centres = []
        for height, width in shapes:
            y = (torch.arange(height, device=device) + 0.5) / height
            x = (torch.arange(width, device=device) + 0.5) / width
            centres.append(torch.cartesian_prod(y, x).flip(1))
        return cls(list(shapes), sizes, counts.cumsum(0) - counts, torch.cat(centres))


class DeformableAttention(MultiScaleDeformableAttention):
    """mmcv's module over the encoder's own tokens, with the path chosen by what is installed.

    mmcv decides by the device alone and fails on a GPU without compiled operators. Parameters,
    their names and the function are mmcv's.
    """

    def forward(self, tokens: Tensor, position: Tensor, levels: Levels) -> Tensor:
        """Attend from every token to sampled points of all levels.

        As in the original, padding is not masked.

        Args:
            tokens: Tokens of shape (B, N, C).
            position: Positional encoding of shape (N, C), which is not added to the values.
            levels: Levels of the tokens.

        Returns:
            Updated tokens of shape (B, N, C), residual included.
        """
        value = self.value_proj(tokens).unflatten(-1, (self.num_heads, -1))  # B N M C/M
        M, L, P = self.num_heads, self.num_levels, self.num_points
        weight = torch.cat([self.sampling_offsets.weight, self.attention_weights.weight])
        bias = torch.cat([self.sampling_offsets.bias, self.attention_weights.bias])
        numbers = F.linear(tokens + position, weight, bias)
        offsets, scores = numbers.split((2 * M * L * P, M * L * P), -1)
        offsets = offsets.unflatten(-1, (M, L, P, 2))  # B N M L P 2
        scores = scores.unflatten(-1, (M, L * P))  # B N M LP
        path, _ = choose_path(tokens.device)
        if path == 'cpu':
            sampled = gather_points(value, levels.shapes, levels.centres, offsets, scores)
            sampled = sampled.flatten(2)
        else:
            attention = scores.softmax(-1).unflatten(-1, (L, P))  # B N M L P
            scale = levels.sizes.flip(1)[:, None]  # L 1 2, (width, height)
            locations = levels.centres[:, None, None, None] + offsets / scale
            if path == 'cuda':
                sampled = MultiScaleDeformableAttnFunction.apply(
                    value, levels.sizes, levels.starts, locations, attention, self.im2col_step
                )
            else:
                sampled = multi_scale_deformable_attn_pytorch(
                    value, levels.shapes, locations, attention
                )
        return tokens + dropout(self.output_proj(sampled), self.dropout.p, self.training)
