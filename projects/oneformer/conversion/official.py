"""Names of the original, in detectron2.

Its files may hold what the model does not use: counters of BatchNorm, the window index of Swin
(rebuilt from the window) and the class weights of the loss (rebuilt from the number of classes).
"""

import math

import torch
from torch import Tensor

from .architecture import Shapes, num_classes_of, window_index
from .layout import Backbone, Layout, Rule, pixel_order, unfold_order

_PIXELS = 'sem_seg_head.pixel_decoder.'
_OUR_PIXELS = 'panoptic_head.pixel_decoder.'
_PREDICTOR = 'sem_seg_head.predictor.'
_QUERIES = 'panoptic_head.task_queries.'
_DECODER = 'panoptic_head.transformer_decoder.'


def one_value(tensor: Tensor) -> Tensor:
    """A scalar as FSDP wants it, of shape (1,)."""
    return tensor.reshape(1) if tensor.numel() == 1 else tensor


def loss_tensors(num_classes: int) -> dict[str, Tensor]:
    """What the original's loss keeps: class weights, and the temperature before training."""
    weights = torch.ones(num_classes + 1)
    weights[-1] = 0.1
    return {
        'criterion.empty_weight': weights,
        'criterion.logit_scale': torch.tensor(math.log(1 / 0.07)),
    }


LOGIT_SCALE = Rule(
    'criterion.logit_scale',
    'contrastive_loss.logit_scale',
    one_value,
    lambda tensor: tensor.reshape(()),
)

_HEAD = [
    Rule(_PIXELS + 'input_proj.{i}.0.{leaf}', _OUR_PIXELS + 'input_convs.{i}.conv.{leaf}'),
    Rule(_PIXELS + 'input_proj.{i}.1.{leaf}', _OUR_PIXELS + 'input_convs.{i}.gn.{leaf}'),
    Rule(_PIXELS + 'transformer.level_embed', _OUR_PIXELS + 'level_encoding.weight'),
    *(
        Rule(
            _PIXELS + 'transformer.encoder.layers.{i}.' + theirs + '.{rest}',
            _OUR_PIXELS + 'encoder.layers.{i}.' + ours + '.{rest}',
        )
        for theirs, ours in (
            ('self_attn', 'self_attn'),
            ('norm1', 'norms.0'),
            ('norm2', 'norms.1'),
            ('linear1', 'ffn.layers.0.0'),
            ('linear2', 'ffn.layers.1'),
        )
    ),
    Rule(_PIXELS + 'adapter_1.weight', _OUR_PIXELS + 'lateral_convs.0.conv.weight'),
    Rule(_PIXELS + 'adapter_1.norm.{leaf}', _OUR_PIXELS + 'lateral_convs.0.gn.{leaf}'),
    Rule(_PIXELS + 'layer_1.weight', _OUR_PIXELS + 'output_convs.0.conv.weight'),
    Rule(_PIXELS + 'layer_1.norm.{leaf}', _OUR_PIXELS + 'output_convs.0.gn.{leaf}'),
    Rule(_PIXELS + 'mask_features.{leaf}', _OUR_PIXELS + 'mask_feature.{leaf}'),
    Rule(_PREDICTOR + 'query_embed.weight', 'panoptic_head.query_embed.weight'),
    Rule(_PREDICTOR + 'level_embed.weight', 'panoptic_head.level_embed.weight'),
    Rule(_PREDICTOR + 'class_embed.{leaf}', 'panoptic_head.cls_embed.{leaf}'),
    *(
        Rule(
            f'{_PREDICTOR}mask_embed.layers.{n}' + '.{leaf}',
            f'panoptic_head.mask_embed.{2 * n}' + '.{leaf}',
        )
        for n in range(3)
    ),
    Rule(_PREDICTOR + 'decoder_norm.{leaf}', _DECODER + 'post_norm.{leaf}'),
    *(
        Rule(
            _PREDICTOR + 'transformer_' + theirs + '.{rest}',
            _DECODER + 'layers.' + ours + '.{rest}',
        )
        for theirs, ours in (
            ('cross_attention_layers.{i}.multihead_attn', '{i}.cross_attn.attn'),
            ('cross_attention_layers.{i}.norm', '{i}.norms.0'),
            ('self_attention_layers.{i}.self_attn', '{i}.self_attn.attn'),
            ('self_attention_layers.{i}.norm', '{i}.norms.1'),
            ('ffn_layers.{i}.linear1', '{i}.ffn.layers.0.0'),
            ('ffn_layers.{i}.linear2', '{i}.ffn.layers.1'),
            ('ffn_layers.{i}.norm', '{i}.norms.2'),
        )
    ),
    Rule(_PREDICTOR + 'class_input_proj.{leaf}', _QUERIES + 'class_input_proj.{leaf}'),
    Rule(
        _PREDICTOR + 'class_transformer.decoder.norm.{leaf}',
        _QUERIES + 'class_transformer.post_norm.{leaf}',
    ),
    *(
        Rule(
            _PREDICTOR + 'class_transformer.decoder.layers.{i}.' + theirs + '.{rest}',
            _QUERIES + 'class_transformer.layers.{i}.' + ours + '.{rest}',
        )
        for theirs, ours in (
            ('self_attn', 'self_attn.attn'),
            ('multihead_attn', 'cross_attn.attn'),
            ('linear1', 'ffn.layers.0.0'),
            ('linear2', 'ffn.layers.1'),
            ('norm1', 'norms.0'),
            ('norm2', 'norms.1'),
            ('norm3', 'norms.2'),
        )
    ),
    Rule('task_mlp.layers.{i}.{leaf}', _QUERIES + 'task_mlp.layers.{i}.{leaf}'),
    *(
        Rule(
            'text_encoder.transformer.resblocks.{i}.' + theirs + '.{rest}',
            'text_mapper.text_encoder.layers.{i}.' + ours + '.{rest}',
        )
        for theirs, ours in (
            ('attn', 'attn.attn'),
            ('ln_1', 'ln_1'),
            ('ln_2', 'ln_2'),
            ('mlp.c_fc', 'c_fc'),
            ('mlp.c_proj', 'c_proj'),
        )
    ),
    *(
        Rule(f'text_encoder.{name}', f'text_mapper.text_encoder.{name}')
        for name in ('positional_embedding', 'token_embedding.weight', 'ln_final.{leaf}')
    ),
    Rule('text_projector.layers.{i}.{leaf}', 'text_mapper.text_projector.layers.{i}.{leaf}'),
    Rule('prompt_ctx.weight', 'text_mapper.prompt_ctx.weight'),
    LOGIT_SCALE,
]

_RESNET = [
    Rule('backbone.stem.conv1.weight', 'backbone.conv1.weight'),
    Rule('backbone.stem.conv1.norm.{leaf}', 'backbone.bn1.{leaf}'),
    *(
        rule
        for stage in range(1, 5)
        for theirs, ours in [
            (f'backbone.res{stage + 1}' + '.{i}.', f'backbone.layer{stage}' + '.{i}.')
        ]
        for rule in (
            Rule(theirs + 'shortcut.weight', ours + 'downsample.0.weight'),
            Rule(theirs + 'shortcut.norm.{leaf}', ours + 'downsample.1.{leaf}'),
            Rule(theirs + 'conv{j}.weight', ours + 'conv{j}.weight'),
            Rule(theirs + 'conv{j}.norm.{leaf}', ours + 'bn{j}.{leaf}'),
        )
    ),
]

_SWIN = [
    Rule('backbone.patch_embed.proj.{leaf}', 'backbone.patch_embed.projection.{leaf}'),
    Rule('backbone.patch_embed.norm.{leaf}', 'backbone.patch_embed.norm.{leaf}'),
    *(
        Rule('backbone.layers.{i}.blocks.{j}.' + theirs, 'backbone.stages.{i}.blocks.{j}.' + ours)
        for theirs, ours in (
            ('norm1.{leaf}', 'norm1.{leaf}'),
            ('attn.relative_position_bias_table', 'attn.w_msa.relative_position_bias_table'),
            ('attn.qkv.{leaf}', 'attn.w_msa.qkv.{leaf}'),
            ('attn.proj.{leaf}', 'attn.w_msa.proj.{leaf}'),
            ('norm2.{leaf}', 'norm2.{leaf}'),
            ('mlp.fc1.{leaf}', 'ffn.layers.0.0.{leaf}'),
            ('mlp.fc2.{leaf}', 'ffn.layers.1.{leaf}'),
        )
    ),
    Rule(
        'backbone.layers.{i}.downsample.{rest}',
        'backbone.stages.{i}.downsample.{rest}',
        unfold_order,
        pixel_order,
    ),
    Rule('backbone.norm{i}.{leaf}', 'backbone.norm{i}.{leaf}'),
]

_CONVNEXT = [
    Rule('backbone.downsample_layers.{i}.{j}.{leaf}', 'backbone.downsample_layers.{i}.{j}.{leaf}'),
    *(
        Rule(f'backbone.stages.{{i}}.{{j}}.{theirs}', f'backbone.stages.{{i}}.{{j}}.{ours}')
        for theirs, ours in (
            ('gamma', 'gamma'),
            ('dwconv.{leaf}', 'depthwise_conv.{leaf}'),
            ('norm.{leaf}', 'norm.{leaf}'),
            ('pwconv1.{leaf}', 'pointwise_conv1.{leaf}'),
            ('pwconv2.{leaf}', 'pointwise_conv2.{leaf}'),
        )
    ),
    Rule('backbone.norm{i}.{leaf}', 'backbone.norm{i}.{leaf}'),
]

# our modules bear the names of the original
_DINAT = [
    Rule(name, name)
    for name in (
        'backbone.patch_embed.proj.{i}.{leaf}',
        'backbone.patch_embed.norm.{leaf}',
        'backbone.levels.{i}.{rest}',
        'backbone.norm{i}.{leaf}',
    )
]

OFFICIAL = Layout(
    name='the original',
    head=_HEAD,
    backbones=[
        Backbone('ResNet', 'backbone.stem.conv1.weight', _RESNET),
        Backbone('Swin', 'backbone.layers.0.blocks.0.attn.qkv.weight', _SWIN),
        Backbone('ConvNeXt', 'backbone.stages.0.0.dwconv.weight', _CONVNEXT),
        Backbone('DiNAT', 'backbone.levels.0.blocks.0.attn.rpb', _DINAT),
    ],
    unused=[
        'backbone.layers.{i}.blocks.{j}.attn.relative_position_index',
        'backbone.{rest}.norm.num_batches_tracked',
        'criterion.empty_weight',
    ],
)


def rebuilt(shapes: Shapes) -> dict[str, Tensor]:
    """What the original's model may have beside tensors of ours: Swin's window index, the loss's.

    Args:
        shapes: Of all our tensors.
    """
    tensors = loss_tensors(num_classes_of(shapes))
    for key, shape in shapes.items():
        if key.endswith('.attn.w_msa.relative_position_index'):
            theirs = key.replace('.stages.', '.layers.').replace('.w_msa.', '.')
            tensors[theirs] = window_index(math.isqrt(shape[0]))
    return tensors
