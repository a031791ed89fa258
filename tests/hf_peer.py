"""Hugging Face's OneFormer as a peer: a small Swin model, and its weights under our names."""

import re

from mmdet.registry import MODELS
from mmengine.config import Config

from benchmarks.peers import randomise, renamed_weights  # noqa: F401

# Rebuilt from the window size.
DERIVED_OF_OURS = re.compile(r'.*\.relative_position_index')


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
