"""Multi-scale deformable attention: mmcv's CUDA operator where it can run, plain torch elsewhere.

Shapes: B images, N tokens of all levels, M heads, L levels, P points, C channels.
"""

import torch
from mmcv.ops import get_compiling_cuda_version
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from torch import Tensor

from ..compat import compiled_ops_available


def choose_path(device: torch.device | str) -> tuple[str, str]:
    """Say which implementation runs on a device, and why.

    Returns:
        ``('cuda', reason)`` or ``('torch', reason)``.
    """
    if torch.device(device).type != 'cuda':
        return 'torch', 'the operator of mmcv is for CUDA; on other devices plain torch runs'
    if not compiled_ops_available():
        return 'torch', 'mmcv was installed without compiled operators (mmcv._ext is missing)'
    if get_compiling_cuda_version() == 'not available':
        return 'torch', 'mmcv._ext was compiled without CUDA'
    return 'cuda', 'mmcv._ext is compiled with CUDA'


class DeformableAttention(MultiScaleDeformableAttention):
    """mmcv's module over the encoder's own tokens, with the path chosen by what is installed.

    mmcv decides by the device alone and fails on a GPU without compiled operators. Parameters,
    their names and the function are mmcv's.
    """

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        reference_points: Tensor,
        spatial_shapes: Tensor,
        level_start_index: Tensor,
        **unused,
    ) -> Tensor:
        """Attend from every token to sampled points of all levels.

        mmdet's encoder also passes the tokens as keys and values, and a padding mask that is empty:
        as in the original, padding is not masked.

        Args:
            query: Tokens of shape (B, N, C), which are the values too.
            query_pos: Of shape (B, N, C).
            reference_points: (x, y) in [0, 1], of shape (B, N, L, 2).
            spatial_shapes: (height, width) of the levels, of shape (L, 2).
            level_start_index: Index of each level's first token, of shape (L,).

        Returns:
            Of shape (B, N, C), residual included.
        """
        positioned = query + query_pos
        value = self.value_proj(query).unflatten(-1, (self.num_heads, -1))  # B N M C/M
        points = (self.num_heads, self.num_levels, self.num_points)
        offsets = self.sampling_offsets(positioned).unflatten(-1, (*points, 2))  # B N M L P 2
        weights = self.attention_weights(positioned).unflatten(-1, (self.num_heads, -1))
        weights = weights.softmax(-1).unflatten(-1, points[1:])  # B N M L P
        level_size = spatial_shapes.flip(1)[:, None]  # L 1 2, (width, height)
        locations = reference_points[:, :, None, :, None] + offsets / level_size
        if choose_path(query.device)[0] == 'cuda':
            sampled = MultiScaleDeformableAttnFunction.apply(
                value, spatial_shapes, level_start_index, locations, weights, self.im2col_step
            )
        else:
            sampled = multi_scale_deformable_attn_pytorch(value, spatial_shapes, locations, weights)
        return query + self.dropout(self.output_proj(sampled))
