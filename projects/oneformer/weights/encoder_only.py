"""Encoder-only models (``OneFormerViTHead``, EoMT): architecture, config.json, trained tasks."""

import logging
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from mmengine.logging import print_log

from ..host.errors import CheckpointError, key_list
from ..tasks import TASKS

Shapes = Mapping[str, tuple[int, ...]]

_HEAD = 'panoptic_head.'
_MARK = f'{_HEAD}upscale.0.conv1.weight'
TASK_TOKEN = f'{_HEAD}task_queries.'
SHARED_PATCHES = f'{_HEAD}shared'
PROBABILITIES = f'{_HEAD}mask_annealing.probabilities'

_HEAD_WIDTH = 64  # channels of an attention head of every published DINOv2 and DINOv3
_SIZE = 640  # of the images of most EoMTs
_JOINT_BLOCKS = {12: 3, 24: 4, 32: 5, 40: 5}  # of EoMT, by the number of blocks
# channels and blocks
_ARCHITECTURES = {
    'dinov2': {(384, 12): 's', (768, 12): 'b', (1024, 24): 'l', (1536, 40): 'g'},
    'dinov3': {(384, 12): 's', (768, 12): 'b', (1024, 24): 'l', (1280, 32): 'h'},
}
_VIT_OPTIONS = (
    *('arch', 'patch_size', 'img_size', 'antialias', 'qkv_bias', 'embed_dims', 'depth'),
    'num_heads',
)
_MODEL_TYPES = dict(dinov2='eomt', dinov3='eomt_dinov3')


def is_encoder_only(keys: Collection[str]) -> bool:
    """Whether our names are of a model without a decoder."""
    return _MARK in keys


def is_one_task_only(keys: Collection[str]) -> bool:
    """Whether our names are of a model that cannot tell tasks apart."""
    return is_encoder_only(keys) and not any(key.startswith(TASK_TOKEN) for key in keys)


def head_config(shapes: Shapes, count: Callable[[Shapes, str], int]) -> dict:
    """Config of the head of tensors of these names and shapes.

    Raises:
        KeyError: With our name of a tensor that is needed here and missing.
    """
    queries, channels = shapes[f'{_HEAD}query_embed.weight']
    head = dict(
        type='OneFormerViTHead',
        embed_dims=channels,
        num_queries=queries,
        num_upscale=count(shapes, f'{_HEAD}upscale.'),
        task_queries=None if is_one_task_only(shapes) else {},
    )
    if SHARED_PATCHES in shapes:
        head['shared_patches'] = True
    if PROBABILITIES in shapes:
        # of a training that is over: what is left of the masks is in the weights
        head['mask_annealing'] = dict(spans=[(0.0, 0.0)] * shapes[PROBABILITIES][0])
    return head


def backbone_config(shapes: Shapes, options: Mapping, count: Callable[[Shapes, str], int]) -> dict:
    """Config of the ``JointViT`` of tensors of these names and shapes.

    Args:
        shapes: Shape of each tensor, by name.
        options: What is known beside them: ``num_heads``, ``num_joint_blocks``.
        count: Function that counts layers by the beginning of their names.

    Raises:
        KeyError: With our name of a tensor that is needed here and missing.
        CheckpointError: If the number of joint blocks is not known.
    """
    depth = count(shapes, 'backbone.blocks.')
    joint = options.get('num_joint_blocks') or shapes.get(PROBABILITIES, (None,))[0]
    joint = joint or _JOINT_BLOCKS.get(depth)
    if joint is None:
        raise CheckpointError(
            f'in how many of the {depth} blocks the queries take part is not known: give the '
            'config that it was trained with'
        )
    if 'arch' in options:
        vit = {name: options[name] for name in _VIT_OPTIONS if name in options}
    else:
        vit = _vit_config(shapes, options, depth)
    return dict(type='JointViT', **vit, num_joint_blocks=joint)


def _vit_config(shapes: Shapes, options: Mapping, depth: int) -> dict:
    """Arguments of ``PlainViT`` of tensors of these names and shapes."""
    channels, _, patch, _ = shapes['backbone.patch_embed.proj.weight']
    family = 'dinov2' if 'backbone.pos_embed' in shapes else 'dinov3'
    size = _ARCHITECTURES[family].get((channels, depth))
    backbone: dict = dict(patch_size=patch)
    own = {} if size else dict(embed_dims=channels, depth=depth, num_heads=_heads(channels))
    if family == 'dinov2':
        inner = shapes['backbone.blocks.0.mlp.fc1.bias'][0]
        is_swiglu = inner == 2 * shapes['backbone.blocks.0.mlp.fc2.weight'][1]
        size = size or ('g' if is_swiglu else 's')
        registers = '_reg4' if 'backbone.reg_token' in shapes else ''
        backbone.update(arch=f'dinov2_{size}{registers}')
        positions = shapes['backbone.pos_embed'][1] - (0 if registers else 1)
        backbone.update(img_size=patch * math.isqrt(positions))
    else:
        is_gated = 'backbone.blocks.0.mlp.fc1_g.weight' in shapes
        size = {'h': 'h+'}.get(size or 's', f'{size or "s"}{"+" if is_gated else ""}')
        backbone.update(arch=f'dinov3_{size}', qkv_bias='backbone.blocks.0.attn.q_bias' in shapes)
    backbone.update(own)
    if options.get('num_heads') not in (None, _heads(channels)):
        backbone.update(num_heads=options['num_heads'])
    return backbone


def _heads(channels: int) -> int:
    return max(channels // _HEAD_WIDTH, 1)


def options_in(config: Mapping) -> dict:
    """What transformers' config.json says of an EoMT and shapes do not tell."""
    if config.get('model_type') not in _MODEL_TYPES.values():
        return {}
    names = dict(num_heads='num_attention_heads', num_joint_blocks='num_blocks')
    return {ours: config[theirs] for ours, theirs in names.items() if theirs in config}


def describe_head(head: Mapping, backbone: Mapping) -> str:
    """What ``architecture.describe`` tells of a head."""
    token = 'no task token' if head['task_queries'] is None else 'a task token'
    if head.get('shared_patches'):
        token += ', shared patches'
    return (
        f'{head["num_queries"]} queries in the last {backbone["num_joint_blocks"]} blocks, {token}'
    )


def config_of(model: Mapping, shapes: Shapes, metainfo: Mapping) -> dict:
    """Content of config.json for an encoder-only model without a task token.

    Args:
        model: Config of the model.
        shapes: Shape of each tensor, by name.
        metainfo: Metainfo of the classes, of plain values.
    """
    backbone, head = model['backbone'], model['panoptic_head']
    channels, _, patch, _ = shapes['backbone.patch_embed.proj.weight']
    family = backbone['arch'].partition('_')[0]
    names = {str(label): name for label, name in enumerate(metainfo['classes'])}
    registers = shapes.get('backbone.reg_token', (1, 0, channels))[1]
    options = dict(
        model_type=_MODEL_TYPES[family],
        hidden_size=channels,
        num_hidden_layers=len({key.split('.')[2] for key in shapes if '.blocks.' in key}),
        num_attention_heads=backbone.get('num_heads') or _heads(channels),
        patch_size=patch,
        num_register_tokens=registers,
        num_queries=head['num_queries'],
        num_blocks=backbone['num_joint_blocks'],
        num_upscale_blocks=head['num_upscale'],
        hidden_act='gelu',
        id2label=names,
        label2id={name: int(label) for label, name in names.items()},
        # not of transformers, which keeps it: for the way back
        metainfo={key: value for key, value in metainfo.items() if key != 'classes'},
    )
    if family == 'dinov2':
        inner = shapes['backbone.blocks.0.mlp.fc1.bias'][0]
        is_swiglu = inner == 2 * shapes['backbone.blocks.0.mlp.fc2.weight'][1]
        options.update(
            architectures=['EomtForUniversalSegmentation'],
            image_size=patch * math.isqrt(shapes['backbone.pos_embed'][1]),
            mlp_ratio=4,
            layer_norm_eps=1e-6,
            use_swiglu_ffn=is_swiglu,
        )
        return options
    is_gated = 'backbone.blocks.0.mlp.fc1_g.weight' in shapes
    inner = 'backbone.blocks.0.mlp.fc1_g.bias' if is_gated else 'backbone.blocks.0.mlp.fc1.bias'
    has_bias = 'backbone.blocks.0.attn.q_bias' in shapes
    options.update(
        architectures=['EomtDinov3ForUniversalSegmentation'],
        image_size=metainfo.get('image_size') or _SIZE,
        intermediate_size=shapes[inner][0],
        layer_norm_eps=1e-5,
        use_gated_mlp=is_gated,
        hidden_act='silu' if is_gated else 'gelu',
        query_bias=has_bias,
        value_bias=has_bias,
        key_bias=False,
        pos_embed_rescale=None,
        rope_parameters=dict(rope_type='default', rope_theta=100.0),
    )
    return options


_FREE = {
    *('architectures', 'id2label', 'label2id', 'metainfo', 'image_size'),
    *('pos_embed_rescale', 'rope_parameters'),
}


def check_config(config: Mapping, expected: Mapping) -> None:
    """Refuse a config.json that says another model than its weights, see ``config_of``.

    Raises:
        CheckpointError: With the options that differ.
    """
    wrong = [
        f'{name} = {config[name]!r}, expected {value!r}'
        for name, value in expected.items()
        if name in config and name not in _FREE and config[name] != value
    ]
    if wrong:
        raise CheckpointError(key_list('config.json does not fit to the weights', wrong))


def eomt_target(keys: Collection[str], layout: str) -> str:
    """The layout that a target means for tensors of ours by these names.

    Raises:
        CheckpointError: If the target has no place for such a model.
    """
    if not is_encoder_only(keys):
        if layout in ('eomt', 'huggingface-eomt'):
            raise CheckpointError(
                'EoMT has no decoder, but this model has one: choose another --to'
            )
        return layout
    if layout == 'plugin':
        return layout
    if layout == 'shi-labs':
        raise CheckpointError(
            'the original has no encoder-only model: choose --to eomt, huggingface or plugin'
        )
    if SHARED_PATCHES in keys:
        raise CheckpointError(
            "EoMT's patches look at queries, but those of this model do not (shared_patches): it "
            'can only be written --to plugin'
        )
    if not is_one_task_only(keys):
        raise CheckpointError(
            'EoMT has no task token, but this model has one: it can only be written --to plugin'
        )
    return 'huggingface-eomt' if layout == 'huggingface' else layout


def image_size_of(path: str, config: Mapping, metainfo: Mapping, shapes: Shapes) -> int:
    """Side of the square in which a model without a task token sees images, in pixels.

    It is in config.json, in metainfo of ours, in DINOv2's table of positions, or in the name of the
    file or folder: ``coco_panoptic_eomt_large_1280_dinov3``.
    """
    size = config.get('image_size') or metainfo.get('image_size')
    if size is None and 'backbone.pos_embed' in shapes:
        patch = shapes['backbone.patch_embed.proj.weight'][-1]
        size = patch * math.isqrt(shapes['backbone.pos_embed'][1])
    if size is None:
        named = re.findall(r'_(\d{3,4})(?=_|\.|$)', '_'.join(_names(path)))
        size = int(named[-1]) if named and int(named[-1]) % 32 == 0 else _SIZE
    return size if isinstance(size, int) else max(size)


def _names(path: str) -> Sequence[str]:
    """The names of a file and its folder, or of a repository of the hub in its cache."""
    places = Path(path).parts
    return [place for place in places if place.startswith('models--')] or places[-2:]


def trained_tasks(path: str, metainfo: Mapping) -> tuple[str, ...]:
    """The tasks that a model without a task token was trained for, which is logged.

    A converted file says so in its metainfo (``tasks``), and the authors and the hub by their
    names: ``coco_panoptic_eomt_large_640``.

    Args:
        path: File or folder of the weights.
        metainfo: What is known of the classes.
    """
    if tasks := metainfo.get('tasks'):
        return tuple(tasks)
    named = [task for task in TASKS if any(task in name.lower() for name in _names(path))]
    if len(named) == 1:
        print_log(f'task: {named[0]}, by the name of {path}', 'current')
        return tuple(named)
    print_log(
        f'{path} was trained for one task, and does not say for which: panoptic is assumed. Say '
        'which by oneformer convert --tasks TASK',
        'current',
        logging.WARNING,
    )
    return ('panoptic',)
