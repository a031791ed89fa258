"""DiNAT, the backbone of OneFormer's best published models, in plain torch.

Modules are named as in the original, so that its weights load without a conversion.

Shapes: B images, H, W height and width, C channels. Inside, maps have their channels last.
"""

from collections.abc import Callable, Sequence

import numpy as np
from mmcv.cnn.bricks import DropPath
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..kernels.chunks import by_chunks
from ..kernels.recomputing import recompute_input
from .natten_attention import natten_attention, natten_operators
from .neighborhood_attention import NeighborhoodAttention, neighborhood_attention


class PatchEmbed(nn.Module):
    """Two convolutions without an activation between: (B, 3, H, W) to (B, H/4, W/4, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, stride=2, padding=1),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to tokens (B, H/4, W/4, C)."""
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class Downsample(nn.Module):
    """Halves the resolution: (B, H, W, C) to (B, H/2, W/2, 2 C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, H, W, C) to (B, H/2, W/2, 2 C)."""
        return self.norm(self.reduction(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class MLP(nn.Module):
    """Two layers with a GELU between them, on the last axis."""

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden_channels)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., C) of the same shape."""
        return by_chunks(self._of_tokens, x, self.training)

    def _of_tokens(self, x: Tensor) -> Tensor:
        return recompute_input(lambda hidden: self.fc2(self.act(hidden)), self.fc1(x))


class Block(nn.Module):
    """Attention and MLP, each after a norm and with a residual; without layer scale."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        kernel_size: int,
        dilation: int,
        mlp_ratio: float,
        drop_path: float,
        attend: Callable[[Tensor, Tensor, Tensor, int], Tensor] = neighborhood_attention,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = NeighborhoodAttention(channels, num_heads, kernel_size, dilation, attend)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels, int(mlp_ratio * channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, H, W, C) of the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Level(nn.Module):
    """Blocks of one resolution, and the step down to the next."""

    def __init__(self, blocks: list[Block], downsample: Downsample | None) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)
        self.downsample = downsample


@MODELS.register_module()
class DiNAT(BaseModule):
    """Dilated Neighborhood Attention Transformer.

    Args:
        embed_dims: Channels of the first level; each level has twice as many as the one before.
        depths: Blocks of each level.
        num_heads: Attention heads of each level.
        kernel_size: Height and width of an attention window, odd.
        dilations: Dilation of each block, for each level.
        mlp_ratio: Hidden channels of an MLP over its channels.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        out_indices: Levels to return, each after a norm of its own; level ``i`` has stride
            ``4 * 2**i``.
        natten: Attend by NATTEN's operators, see ``natten_attention``.
        init_cfg: Source of the weights, such as
            ``dict(type='PretrainedBackbone', checkpoint=path_or_url)``.

    Raises:
        ValueError: If ``dilations`` does not name one dilation per block, or NATTEN has no biases.
        ModuleNotFoundError: If NATTEN is asked for and not installed.
    """

    def __init__(
        self,
        embed_dims: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        kernel_size: int,
        dilations: Sequence[Sequence[int]],
        mlp_ratio: float,
        drop_path_rate: float,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        natten: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            init_cfg or dict(type='TruncNormal', layer='Linear', mean=0, std=0.02, bias=0)
        )
        if [len(level) for level in dilations] != list(depths):
            raise ValueError(
                f'dilations must name one dilation for each block: depths are {list(depths)}, '
                f'but dilations has {[len(level) for level in dilations]}'
            )
        if natten:
            natten_operators()  # or it cannot be used
        attend = natten_attention if natten else neighborhood_attention
        self.out_indices = tuple(out_indices)
        # options that weights do not tell, kept beside them
        self.not_in_weights = dict(dilations=[list(level) for level in dilations])
        self.patch_embed = PatchEmbed(embed_dims)
        drop_paths = iter(np.linspace(0, drop_path_rate, sum(depths)).tolist())
        self.levels = nn.ModuleList()
        for i, level_dilations in enumerate(dilations):
            channels = embed_dims * 2**i
            blocks = [
                Block(
                    channels,
                    num_heads[i],
                    kernel_size,
                    dilation,
                    mlp_ratio,
                    next(drop_paths),
                    attend,
                )
                for dilation in level_dilations
            ]
            downsample = Downsample(channels) if i < len(depths) - 1 else None
            self.levels.append(Level(blocks, downsample))
            if i in self.out_indices:
                self.add_module(f'norm{i}', nn.LayerNorm(channels))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 3, H, W) to one (B, C, H, W) for each of ``out_indices``."""
        x = self.patch_embed(images)
        features = []
        for i, level in enumerate(self.levels):
            x = level.blocks(x)
            if i in self.out_indices:
                features.append(getattr(self, f'norm{i}')(x).permute(0, 3, 1, 2).contiguous())
            if level.downsample is not None:
                x = level.downsample(x)
        return tuple(features)
