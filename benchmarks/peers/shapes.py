"""Sizes of the compared models, and random weights that make masks of both signs."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from oneformer.metainfo import KNOWN_DATASETS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
ADE20K = KNOWN_DATASETS['ade20k']
CLASSES = ADE20K['classes']


class Shape(NamedTuple):
    """Sizes that all sides share. The defaults are the published model of ADE20K with Swin-T."""

    swin_channels: int = 96
    swin_depths: tuple[int, ...] = (2, 2, 6, 2)
    swin_heads: tuple[int, ...] = (3, 6, 12, 24)
    swin_window: int = 7
    resnet_channels: int = 64
    channels: int = 256
    queries: int = 150
    encoder_layers: int = 6
    decoder_layers: int = 9
    text_layers: int = 6
    context: int = 16
    points: int = 12544

    @property
    def resnet_maps(self) -> list[int]:
        """Channels of the maps of ResNet-50."""
        return [self.resnet_channels * 4 << stage for stage in range(4)]

    @property
    def texts(self) -> int:
        """Prompts per image."""
        return self.queries - self.context


SHAPE = Shape()
SMALL = Shape(
    swin_channels=32,
    swin_depths=(2, 2, 2, 2),
    swin_heads=(1, 2, 4, 8),
    swin_window=4,
    resnet_channels=8,
    channels=64,
    queries=20,
    encoder_layers=2,
    decoder_layers=3,
    text_layers=2,
    context=4,
    points=128,
)


def pixel_decoder_changes(shape: Shape) -> dict:
    """What to change in the pixel decoder of our config and of Mask2Former's."""
    layer = dict(
        self_attn_cfg=dict(embed_dims=shape.channels), ffn_cfg=dict(embed_dims=shape.channels)
    )
    return dict(
        encoder=dict(num_layers=shape.encoder_layers, layer_cfg=layer),
        positional_encoding=dict(num_feats=shape.channels // 2),
    )


_TABLES = (
    'queries_embedder.weight',
    'query_embed.weight',
    'query_feat.weight',
    'level_embed',
    'level_embed.weight',
    'context.weight',
    'token_embedding.weight',
    'positional_embedding',
    'relative_position_bias_table',
)
_READS_TOKEN_IDS = ('task_mlp.layers.0.0.weight', 'task_mlp.layers.0.weight')


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter a value that matters: no zeros, no ones, masks of both signs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 0:
                continue  # the temperature keeps its value
            if 'sampling_offsets' in name:
                parameter.add_(noise * 0.1)
            elif name.endswith(_READS_TOKEN_IDS):
                parameter.copy_(noise * 1e-4)  # its inputs are token ids up to 49407
            elif name.endswith(_TABLES):
                parameter.copy_(noise)
            elif parameter.dim() > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            elif parameter.dim() == 1 and name.endswith('weight'):
                parameter.copy_(1 + noise * 0.2)
            else:
                parameter.copy_(noise * 0.3)
    return model
