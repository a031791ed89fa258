"""Hugging Face's OneFormer as a peer: a small Swin model, and its weights under our names."""

import re

import torch
from mmdet.registry import MODELS
from mmengine.config import Config

# Hugging Face's names (as in memory, transformers 5) -> ours; \1 ... are layer numbers
_RULES = [
    (r'model\.pixel_level_module\.encoder\.swin\.embeddings\.patch_embeddings\.projection\.(.+)',
     r'backbone.patch_embed.projection.\1'),
    (r'model\.pixel_level_module\.encoder\.swin\.embeddings\.norm\.(.+)',
     r'backbone.patch_embed.norm.\1'),
    (r'model\.pixel_level_module\.encoder\.hidden_states_norms\.stage(\d)\.(.+)',
     lambda m: f'backbone.norm{int(m[1]) - 1}.{m[2]}'),
    (r'model\.pixel_level_module\.encoder\.swin\.encoder\.layers\.(\d+)\.downsample\.(.+)',
     r'backbone.stages.\1.downsample.\2'),
    (r'model\.pixel_level_module\.encoder\.swin\.encoder\.layers\.', 'backbone.stages.'),
    (r'\.attention\.qkv\.', '.attn.w_msa.qkv.'),
    (r'\.attention\.o_proj\.', '.attn.w_msa.proj.'),
    (r'\.attention\.relative_position_bias\.', '.attn.w_msa.'),
    (r'\.layernorm_before\.', '.norm1.'),
    (r'\.layernorm_after\.', '.norm2.'),
    (r'(backbone.*)\.mlp\.fc1\.', r'\1.ffn.layers.0.0.'),
    (r'(backbone.*)\.mlp\.fc2\.', r'\1.ffn.layers.1.'),
    (r'model\.pixel_level_module\.decoder\.', 'panoptic_head.pixel_decoder.'),
    (r'\.input_projections\.(\d)\.0\.', r'.input_convs.\1.conv.'),
    (r'\.input_projections\.(\d)\.1\.', r'.input_convs.\1.gn.'),
    (r'pixel_decoder\.level_embed$', 'pixel_decoder.level_encoding.weight'),
    (r'\.self_attn_layer_norm\.', '.norms.0.'),
    (r'\.final_layer_norm\.', '.norms.1.'),
    (r'(pixel_decoder\.encoder.*)\.fc1\.', r'\1.ffn.layers.0.0.'),
    (r'(pixel_decoder\.encoder.*)\.fc2\.', r'\1.ffn.layers.1.'),
    (r'\.mask_projection\.', '.mask_feature.'),
    (r'\.adapter_1\.0\.', '.lateral_convs.0.conv.'),
    (r'\.adapter_1\.1\.', '.lateral_convs.0.gn.'),
    (r'\.layer_1\.0\.', '.output_convs.0.conv.'),
    (r'\.layer_1\.1\.', '.output_convs.0.gn.'),
    (r'model\.transformer_module\.queries_embedder\.', 'panoptic_head.query_embed.'),
    (r'model\.transformer_module\.level_embed\.', 'panoptic_head.level_embed.'),
    (r'model\.transformer_module\.decoder\.class_embed\.', 'panoptic_head.cls_embed.'),
    (r'model\.transformer_module\.decoder\.mask_embed\.layers\.(\d)\.0\.',
     lambda m: f'panoptic_head.mask_embed.{2 * int(m[1])}.'),
    (r'model\.transformer_module\.decoder\.decoder_norm\.',
     'panoptic_head.transformer_decoder.post_norm.'),
    (r'model\.transformer_module\.decoder\.query_input_projection\.',
     'panoptic_head.task_queries.class_input_proj.'),
    (r'model\.transformer_module\.decoder\.query_transformer\.decoder\.norm\.',
     'panoptic_head.task_queries.class_transformer.post_norm.'),
    (r'model\.transformer_module\.decoder\.query_transformer\.decoder\.layers\.',
     'panoptic_head.task_queries.class_transformer.layers.'),
    (r'(class_transformer\.layers\.\d+)\.self_attn\.', r'\1.self_attn.attn.'),
    (r'(class_transformer\.layers\.\d+)\.multihead_attn\.', r'\1.cross_attn.attn.'),
    (r'(class_transformer\.layers\.\d+)\.linear1\.', r'\1.ffn.layers.0.0.'),
    (r'(class_transformer\.layers\.\d+)\.linear2\.', r'\1.ffn.layers.1.'),
    (r'(class_transformer\.layers\.\d+)\.norm(\d)\.',
     lambda m: f'{m[1]}.norms.{int(m[2]) - 1}.'),
    (r'model\.transformer_module\.decoder\.layers\.', 'panoptic_head.transformer_decoder.layers.'),
    (r'\.cross_attn\.multihead_attn\.', '.cross_attn.attn.'),
    (r'\.self_attn\.self_attn\.', '.self_attn.attn.'),
    (r'(transformer_decoder\.layers\.\d+)\.cross_attn\.norm\.', r'\1.norms.0.'),
    (r'(transformer_decoder\.layers\.\d+)\.self_attn\.norm\.', r'\1.norms.1.'),
    (r'(transformer_decoder\.layers\.\d+)\.ffn\.norm\.', r'\1.norms.2.'),
    (r'\.ffn\.linear1\.', '.ffn.layers.0.0.'),
    (r'\.ffn\.linear2\.', '.ffn.layers.1.'),
    (r'model\.task_encoder\.task_mlp\.layers\.(\d)\.0\.',
     r'panoptic_head.task_queries.task_mlp.layers.\1.'),
    (r'model\.text_mapper\.text_projector\.layers\.(\d)\.0\.',
     r'text_mapper.text_projector.layers.\1.'),
    (r'model\.text_mapper\.text_encoder\.transformer\.layers\.',
     'text_mapper.text_encoder.layers.'),
    (r'(text_encoder\.layers\.\d+)\.self_attn\.', r'\1.attn.attn.'),
    (r'(text_encoder\.layers\.\d+)\.layer_norm(\d)\.', r'\1.ln_\2.'),
    (r'(text_encoder\.layers\.\d+)\.mlp\.fc1\.', r'\1.c_fc.'),
    (r'(text_encoder\.layers\.\d+)\.mlp\.fc2\.', r'\1.c_proj.'),
    (r'model\.text_mapper\.', 'text_mapper.'),
    (r'criterion\.logit_scale', 'contrastive_loss.logit_scale'),
]  # fmt: skip

_TABLES = (
    'queries_embedder.weight',
    'level_embed',
    'level_embed.weight',
    'prompt_ctx.weight',
    'token_embedding.weight',
    'positional_embedding',
    'relative_position_bias_table',
)

# Nothing depends on these: an unused norm, and a constant of the loss.
UNUSED_OF_PEER = re.compile(r'.*\.encoder\.swin\.layernorm\..*|criterion\.empty_weight')
# Rebuilt from the window size.
DERIVED_OF_OURS = re.compile(r'.*\.relative_position_index')


def rename(key):
    """Our name of one of Hugging Face's."""
    for pattern, replacement in _RULES:
        key = re.sub(pattern, replacement, key)
    return key


def unfold_order(tensor):
    """Reorder the last axis of Swin's patch merging to mmdet's, whose Unfold is channel-major."""
    groups = tensor.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return groups.transpose(-1, -2).flatten(-2)


def renamed_weights(state_dict):
    """Hugging Face's weights as ours, all but ``UNUSED_OF_PEER``.

    The three projections of an attention become one matrix; patch merging changes its order.
    """
    stacked, ours = {}, {}
    for key, value in state_dict.items():
        part = re.match(r'(.+\.(?:attention|self_attn\.self_attn))\.([qkv])_proj\.(.+)', key)
        if part:
            stacked.setdefault((part[1], part[3]), {})[part[2]] = value
        elif not UNUSED_OF_PEER.fullmatch(key):
            if '.downsample.' in key:
                value = unfold_order(value)
            ours[rename(key)] = value.reshape(1) if key.endswith('logit_scale') else value
    for (prefix, leaf), parts in stacked.items():
        merged = torch.cat([parts[letter] for letter in 'qkv'])
        if prefix.endswith('.attention'):
            ours[rename(f'{prefix}.qkv.{leaf}')] = merged
        else:
            ours[rename(f'{prefix}.in_proj_{leaf}')] = merged
    return ours


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
    from transformers import OneFormerConfig, OneFormerForUniversalSegmentation, SwinConfig

    swin = SwinConfig(
        image_size=64,
        embed_dim=32,
        depths=[2, 2, 2, 2],
        num_heads=[1, 2, 4, 8],
        window_size=4,
        drop_path_rate=0.0,
        out_features=['stage1', 'stage2', 'stage3', 'stage4'],
    )
    peer = OneFormerForUniversalSegmentation(
        OneFormerConfig(
            backbone_config=swin,
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
    peer = randomise(peer, seed).eval()
    ours = MODELS.build(small_swin_config(config_dir, hidden, dropout)).eval()
    return peer, ours


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
