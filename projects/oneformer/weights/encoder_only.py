"""Encoder-only models (``OneFormerViTHead``, EoMT): architecture, config.json, trained tasks."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mmengine.logging import print_log

from ..host.errors import CheckpointError, key_list
from ..tasks import TASKS
from .shapes import Shapes, count
from .vit_architecture import read_vit, table_size, told_options

_HEAD = 'panoptic_head.'
_MARK = f'{_HEAD}upscale.0.conv1.weight'
TASK_TOKEN = f'{_HEAD}task_queries.'
SHARED_PATCHES = f'{_HEAD}shared'
MASK_PROBABILITIES = f'{_HEAD}mask_annealing.probabilities'

_SIZE = 640  # of the images of most EoMTs
_JOINT_BLOCKS = {12: 3, 24: 4, 32: 5, 40: 5}  # of EoMT, by the number of blocks
_MODEL_TYPES = dict(dinov2='eomt', dinov3='eomt_dinov3')


def is_encoder_only(keys: Collection[str]) -> bool:
    """Whether our names are of a model without a decoder."""
    return _MARK in keys


def is_one_task_only(keys: Collection[str]) -> bool:
    """Whether our names are of a model that cannot tell tasks apart."""
    return is_encoder_only(keys) and not any(key.startswith(TASK_TOKEN) for key in keys)


def head_config(shapes: Shapes) -> dict:
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
    if MASK_PROBABILITIES in shapes:
        # of a training that is over: what is left of the masks is in the weights
        head['mask_annealing'] = dict(spans=[(0.0, 0.0)] * shapes[MASK_PROBABILITIES][0])
    return head


def backbone_config(shapes: Shapes, options: Mapping) -> dict:
    """Config of the ``JointViT`` of tensors of these names and shapes.

    Args:
        shapes: Shape of each tensor, by name.
        options: What is known beside them: ``num_heads``, ``num_joint_blocks``.

    Raises:
        KeyError: With our name of a tensor that is needed here and missing.
        CheckpointError: If the number of joint blocks is not known.
    """
    depth = count(shapes, 'backbone.blocks.')
    joint = options.get('num_joint_blocks') or shapes.get(MASK_PROBABILITIES, (None,))[0]
    joint = joint or _JOINT_BLOCKS.get(depth)
    if joint is None:
        raise CheckpointError(
            f'in how many of the {depth} blocks the queries take part is not known: give the '
            'config that it was trained with'
        )
    vit = told_options(options)
    if 'arch' not in vit:
        found = read_vit(shapes)
        vit = found.options()
        if options.get('num_heads') not in (None, found.num_heads):
            vit['num_heads'] = options['num_heads']
    return dict(type='JointViT', **vit, num_joint_blocks=joint)


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
    vit = read_vit(shapes)
    names = {str(label): name for label, name in enumerate(metainfo['classes'])}
    options = dict(
        model_type=_MODEL_TYPES[vit.family],
        hidden_size=vit.channels,
        num_hidden_layers=vit.depth,
        num_attention_heads=backbone.get('num_heads') or vit.num_heads,
        patch_size=vit.patch_size,
        num_register_tokens=vit.num_registers,
        num_queries=head['num_queries'],
        num_blocks=backbone['num_joint_blocks'],
        num_upscale_blocks=head['num_upscale'],
        hidden_act='gelu',
        id2label=names,
        label2id={name: int(label) for label, name in names.items()},
        # not of transformers, which keeps it: for the way back
        metainfo={key: value for key, value in metainfo.items() if key != 'classes'},
    )
    if vit.family == 'dinov2':
        options.update(
            architectures=['EomtForUniversalSegmentation'],
            image_size=vit.img_size,
            mlp_ratio=4,
            layer_norm_eps=1e-6,
            use_swiglu_ffn=vit.is_gated,
        )
        return options
    options.update(
        architectures=['EomtDinov3ForUniversalSegmentation'],
        image_size=metainfo.get('image_size') or _SIZE,
        intermediate_size=vit.inner,
        layer_norm_eps=1e-5,
        use_gated_mlp=vit.is_gated,
        hidden_act='silu' if vit.is_gated else 'gelu',
        query_bias=vit.has_bias,
        value_bias=vit.has_bias,
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
        size = table_size(shapes)
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
