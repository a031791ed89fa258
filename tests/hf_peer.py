"""Hugging Face's OneFormer as a peer: a small Swin model, and its weights under our names."""

import re

import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from oneformer.conversion.huggingface import HUGGINGFACE

_TABLES = (
    'queries_embedder.weight',
    'level_embed',
    'level_embed.weight',
    'prompt_ctx.weight',
    'token_embedding.weight',
    'positional_embedding',
    'relative_position_bias_table',
)

# Rebuilt from the window size.
DERIVED_OF_OURS = re.compile(r'.*\.relative_position_index')


def renamed_weights(state_dict):
    """Hugging Face's weights as ours."""
    translation = HUGGINGFACE.to_ours(state_dict)
    assert not translation.unknown + translation.broken
    return translation.tensors


def randomise(model, seed=0):
    """Give every parameter a value that matters: no zeros, no ones, masks of both signs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 0:
                continue  # the temperature keeps its value
            if 'sampling_offsets' in name:
                parameter.add_(noise * 0.1)
            elif name.endswith('task_mlp.layers.0.0.weight'):
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


def peer_and_ours(config_dir, hidden=64, seed=0, dropout=0.0):
    """A small Swin OneFormer of Hugging Face with random weights, and ours with the same.

    Drop path is 0 on both sides.

    Returns:
        The two models, in evaluation mode.
    """
    from transformers import SwinConfig

    swin = SwinConfig(
        image_size=64,
        embed_dim=32,
        depths=[2, 2, 2, 2],
        num_heads=[1, 2, 4, 8],
        window_size=4,
        drop_path_rate=0.0,
        out_features=['stage1', 'stage2', 'stage3', 'stage4'],
    )
    peer = peer_with(swin, hidden, seed, dropout)
    ours = MODELS.build(small_swin_config(config_dir, hidden, dropout)).eval()
    return peer, ours


def peer_with(backbone_config, hidden=64, seed=0, dropout=0.0):
    """A small OneFormer of Hugging Face with random weights, in evaluation mode."""
    from transformers import OneFormerConfig, OneFormerForUniversalSegmentation

    peer = OneFormerForUniversalSegmentation(
        OneFormerConfig(
            backbone_config=backbone_config,
            num_queries=20,
            hidden_dim=hidden,
            conv_dim=hidden,
            mask_dim=hidden,
            num_attention_heads=8,
            encoder_layers=2,
            encoder_feedforward_dim=128,
            decoder_layers=10,
            dim_feedforward=128,
            text_encoder_width=hidden,
            text_encoder_num_layers=2,
            text_encoder_n_ctx=4,
            num_labels=7,
            is_training=True,
            dropout=dropout,
            train_num_points=128,
        )
    )
    return randomise(peer, seed).eval()


def small_swin_config(config_dir, hidden=64, dropout=0.0):
    """Our config of the same shape."""
    model = Config(dict(model=Config.fromfile(config_dir / 'oneformer_swin-l_ade20k.py').model))
    changes = dict(
        model=dict(
            backbone=dict(
                embed_dims=32,
                depths=(2, 2, 2, 2),
                num_heads=(1, 2, 4, 8),
                window_size=4,
                drop_path_rate=0.0,
                init_cfg=None,
            ),
            panoptic_head=dict(
                in_channels=[32, 64, 128, 256],
                num_queries=20,
                feat_channels=hidden,
                pixel_decoder=dict(
                    encoder=dict(
                        num_layers=2,
                        layer_cfg=dict(
                            self_attn_cfg=dict(embed_dims=hidden, dropout=dropout),
                            ffn_cfg=dict(
                                embed_dims=hidden, feedforward_channels=128, ffn_drop=dropout
                            ),
                        ),
                    ),
                    positional_encoding=dict(num_feats=hidden // 2),
                ),
                task_queries=dict(feedforward_channels=128, dropout=dropout),
                transformer_decoder=dict(feedforward_channels=128),
            ),
            criterion=dict(num_points=128),
            text_mapper=dict(num_context=4, embed_dims=hidden, num_layers=2),
        )
    )
    model.merge_from_dict(changes)
    model.model.metainfo = dict(classes=tuple('abcdefg'), thing_classes=('a', 'c', 'f'))
    return model.model
