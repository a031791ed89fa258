"""Multi-scale deformable attention: mmcv's CUDA operator, ours, a fast path on a CPU, plain torch.

Shapes: B images, N tokens of all levels, M heads, L levels, P points, C channels.
"""

import math

import torch
import torch.nn.functional as F
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from torch import Tensor

from .attention_levels import Levels, find_samples, split_numbers
from .attention_paths import choose_path
from .dropout import dropout
from .gathered_attention import gather_and_sum
from .point_gathering import gather_points
from .recomputing import recompute_input


class DeformableAttention(MultiScaleDeformableAttention):
    """mmcv's module over the encoder's own tokens, by any path.

    mmcv decides by the device alone and fails on a GPU without compiled operators. Parameters,
    their names and the function are mmcv's.
    """

    def forward(
        self, tokens: Tensor, position: Tensor, levels: Levels, path: str | None = None
    ) -> Tensor:
        """Attend from every token to sampled points of all levels.

        As in the original, padding is not masked.

        Args:
            tokens: Tokens of shape (B, N, C).
            position: Positional encoding of shape (N, C), which is not added to the values.
            levels: Levels of the tokens.
            path: One of ``PATHS``, by default what ``choose_path`` says.

        Returns:
            Updated tokens of shape (B, N, C), residual included.
        """
        value = self.value_proj(tokens).to(tokens.dtype)
        value = value.unflatten(-1, (self.num_heads, -1))  # B N M C/M
        weight = torch.cat([self.sampling_offsets.weight, self.attention_weights.weight])
        bias = torch.cat([self.sampling_offsets.bias, self.attention_weights.bias])
        with torch.autocast(tokens.device.type, enabled=False):  # 8 bits are too few for places
            numbers = recompute_input(lambda x: F.linear(x + position, weight, bias), tokens)
        path = path or choose_path(tokens.device)[0]
        sampled = self.attend(value, numbers, levels, path)
        return tokens + dropout(self.output_proj(sampled), self.dropout.p, self.training)

    def attend(self, value: Tensor, numbers: Tensor, levels: Levels, path: str) -> Tensor:
        """Sum samples of values (B, N, M, C / M), of which ``numbers`` has offsets and scores."""
        M, L, P = self.num_heads, self.num_levels, self.num_points
        if path == 'triton':
            from .triton_attention import deformable_attention

            sampled = deformable_attention(value, numbers, levels.sizes, levels.starts, P)
            return sampled.flatten(2)
        if path in ('cpu', 'gather'):
            offsets, scores = split_numbers(numbers, M, L, P)
            if path == 'gather':
                return gather_and_sum(value, levels, offsets, scores.softmax(-1)).flatten(2)
            sampled = gather_points(value, levels.shapes, levels.centres, offsets, scores)
            return sampled.flatten(2)
        locations, weights = find_samples(numbers, levels, M, P)
        if path == 'torch':
            return multi_scale_deformable_attn_pytorch(value, levels.shapes, locations, weights)
        # the operator takes so many images at a time, which have to divide the batch
        images = math.gcd(len(value), self.im2col_step)
        step = self.im2col_step if len(value) <= self.im2col_step else images
        return MultiScaleDeformableAttnFunction.apply(
            value, levels.sizes, levels.starts, locations, weights, step
        )
