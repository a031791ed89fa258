"""config.json of Hugging Face's transformers: read, held against a model of ours, and written."""

import re
from collections.abc import Mapping

from ..host.errors import CheckpointError, key_list
from . import encoder_only
from .shapes import Shapes

# options of which the published models, and so ours, use one value
_FUNCTION = dict(use_task_norm=True, pre_norm=False, enforce_input_proj=False)
_FUNCTION_OF = dict(
    swin=dict(hidden_act='gelu', layer_norm_eps=1e-5, use_absolute_embeddings=False, qkv_bias=True),
    dinat=dict(hidden_act='gelu', layer_norm_eps=1e-5, layer_scale_init_value=0, qkv_bias=True),
)
# options that do not change what the weights mean
_FREE = {
    'architectures',
    'backbone_config',
    'drop_path_rate',
    'id2label',
    'image_size',
    'is_training',
    'label2id',
    'metainfo',
}

# of a DiNAT whose config.json leaves them out
_DILATIONS = [[1, 8, 1], [1, 4, 1, 4], [1, 2, 1, 2, 1, 2], [1, 1, 1, 1, 1]]


def backbone_options_in(config: Mapping) -> dict:
    """What config.json says of the backbone and shapes do not tell."""
    if options := encoder_only.options_in(config):
        return options
    backbone = config.get('backbone_config') or config
    is_dinat = backbone.get('model_type') == 'dinat'
    return dict(dilations=backbone.get('dilations') or _DILATIONS) if is_dinat else {}


def classes_in(config: Mapping) -> dict:
    """Metainfo of config.json: the names of ``id2label``, and what else we wrote; empty if unnamed.

    Raises:
        CheckpointError: If the labels are not numbers from 0 on.
    """
    names = config.get('id2label') or {}
    if all(re.fullmatch(r'LABEL_\d+', str(name)) for name in names.values()):
        return {}
    labels = [str(label) for label in range(len(names))]
    if set(labels) != set(names):
        raise CheckpointError(f'id2label of config.json does not name the labels 0 to {labels[-1]}')
    return {**(config.get('metainfo') or {}), 'classes': [names[label] for label in labels]}


def _differences(config: Mapping, expected: Mapping, expected_backbone: Mapping) -> list[str]:
    """Lines about options with another value; what config.json leaves out is not checked."""
    return [
        f'{part}{name} = {theirs[name]!r}, expected {value!r}'
        for part, theirs, ours in (
            ('', config, expected),
            ('backbone_config.', config.get('backbone_config') or {}, expected_backbone),
        )
        for name, value in ours.items()
        if name in theirs and name not in _FREE and theirs[name] != value
    ]


def check_function(config: Mapping) -> None:
    """Refuse the config.json of a model that computes something else than ours.

    Raises:
        CheckpointError: With the options that differ.
    """
    backbone = (config.get('backbone_config') or {}).get('model_type') or ''
    if wrong := _differences(config, _FUNCTION, _FUNCTION_OF.get(backbone, {})):
        raise CheckpointError(key_list('config.json asks for what ours cannot compute', wrong))


def check_config(config: Mapping, expected: Mapping) -> None:
    """Refuse a config.json that says another model than its weights.

    Args:
        config: Content of config.json.
        expected: ``config_of`` the weights.

    Raises:
        CheckpointError: With the options that differ.
    """
    if 'backbone_config' not in expected:
        encoder_only.check_config(config, expected)
        return
    if wrong := _differences(config, expected, expected['backbone_config']):
        raise CheckpointError(key_list('config.json does not fit to the weights', wrong))


# by the type of our backbone
_KINDS = {'OneFormerSwinTransformer': 'swin', 'SwinTransformer': 'swin', 'DiNAT': 'dinat'}


def _backbone_options(backbone: Mapping) -> dict:
    """``backbone_config`` of a backbone of ours."""
    options = dict(
        model_type=_KINDS[backbone['type']],
        embed_dim=backbone['embed_dims'],
        depths=list(backbone['depths']),
        num_heads=list(backbone['num_heads']),
        drop_path_rate=backbone.get('drop_path_rate', 0.3),
        out_features=['stage1', 'stage2', 'stage3', 'stage4'],
    )
    if options['model_type'] == 'swin':
        window, image = backbone['window_size'], backbone.get('pretrain_img_size', 224)
        return dict(options, window_size=window, image_size=image)
    return dict(
        options,
        kernel_size=backbone['kernel_size'],
        dilations=[list(level) for level in backbone['dilations']],
        mlp_ratio=float(backbone['mlp_ratio']),
        layer_scale_init_value=0.0,
    )


def config_of(model: Mapping, shapes: Shapes, metainfo: Mapping) -> dict:
    """Content of config.json for a model of ours.

    Args:
        model: Config of the model.
        shapes: Shape of each tensor, by name.
        metainfo: Metainfo of the classes, of plain values.

    Raises:
        CheckpointError: If its backbone is not one of ``_KINDS``.
    """
    backbone, head = model['backbone'], model['panoptic_head']
    if encoder_only.is_encoder_only(shapes):
        return encoder_only.config_of(model, shapes, metainfo)
    if backbone['type'] not in _KINDS:
        raise CheckpointError(f'Hugging Face has no {backbone["type"]}, only {", ".join(_KINDS)}')
    encoder, decoder = head['pixel_decoder']['encoder'], head['transformer_decoder']
    channels = shapes['panoptic_head.query_embed.weight'][1]
    inner = shapes['panoptic_head.transformer_decoder.layers.0.ffn.layers.0.0.bias'][0]
    names = {str(label): name for label, name in enumerate(metainfo['classes'])}
    options = dict(
        architectures=['OneFormerForUniversalSegmentation'],
        model_type='oneformer',
        backbone_config=_backbone_options(backbone),
        num_queries=head['num_queries'],
        hidden_dim=channels,
        conv_dim=channels,
        mask_dim=channels,
        num_attention_heads=encoder['layer_cfg']['self_attn_cfg']['num_heads'],
        encoder_layers=encoder['num_layers'],
        encoder_feedforward_dim=encoder['layer_cfg']['ffn_cfg']['feedforward_channels'],
        decoder_layers=decoder['num_layers'] + 1,
        dim_feedforward=inner,
        query_dec_layers=head['task_queries']['num_layers'],
        # a model that is training asks for texts and keeps its dropout on when it evaluates;
        # from_pretrained takes is_training=True for one that is to be trained
        is_training=False,
        id2label=names,
        label2id={name: int(label) for label, name in names.items()},
        # not of transformers, which keeps it: for the way back
        metainfo={key: value for key, value in metainfo.items() if key != 'classes'},
    )
    if model.get('text_mapper'):
        options.update(
            text_encoder_width=channels,
            text_encoder_num_layers=model['text_mapper']['num_layers'],
            text_encoder_n_ctx=model['text_mapper']['num_context'],
        )
    return options
