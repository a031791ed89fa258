"""Names of backbones, inside a OneFormer and in files of their own: a continuation of ``names``.

A column of a table is a way in which files name the tensors.
"""

import os
from collections.abc import Iterable

from ..host.errors import CheckpointError
from .rules import Backbone, Layout, Rule, pixel_order, rules_of, unfold_order
from .vit_names import VIT_FILES

ENCODER = 'model.pixel_level_module.encoder.'
_FOUR = range(4)

_RESNET = [
    # ours | SHI-Labs, who have detectron2's
    ('backbone.', 'backbone.stem.'),
    ('conv1.weight', 'conv1.weight'),
    ('bn1.*', 'conv1.norm.*'),
    *(
        row
        for n in _FOUR
        for row in (
            (f'backbone.layer{n + 1}.{{i}}.', f'backbone.res{n + 2}.{{i}}.'),
            ('downsample.0.weight', 'shortcut.weight'),
            ('downsample.1.*', 'shortcut.norm.*'),
            ('conv{j}.weight', 'conv{j}.weight'),
            ('bn{j}.*', 'conv{j}.norm.*'),
        )
    ),
]

_STAGE = 'encoder.layers.{i}.'
_BLOCK = f'{_STAGE}blocks.{{j}}.'
_PARTS = ('query', 'key', 'value')
_TABLE = 'relative_position_bias_table'
_SWIN_BLOCKS = [
    # ours | SHI-Labs, Microsoft and timm of 2023 and later | Hugging Face in files | in memory
    ('backbone.', 'backbone.', ENCODER, f'{ENCODER}swin.'),
    (
        'patch_embed.projection.*',
        'patch_embed.proj.*',
        *['embeddings.patch_embeddings.projection.*'] * 2,
    ),
    ('patch_embed.norm.*', 'patch_embed.norm.*', *['embeddings.norm.*'] * 2),
    (
        'backbone.stages.{i}.blocks.{j}.',
        'backbone.layers.{i}.blocks.{j}.',
        ENCODER + _BLOCK,
        f'{ENCODER}swin.{_BLOCK}',
    ),
    (
        'attn.w_msa.qkv.*',
        'attn.qkv.*',
        tuple(f'attention.self.{part}.*' for part in _PARTS),
        tuple(f'attention.{part}_proj.*' for part in 'qkv'),
    ),
    (
        f'attn.w_msa.{_TABLE}',
        f'attn.{_TABLE}',
        f'attention.self.{_TABLE}',
        f'attention.relative_position_bias.{_TABLE}',
    ),
    ('attn.w_msa.proj.*', 'attn.proj.*', 'attention.output.dense.*', 'attention.o_proj.*'),
    ('norm1.*', 'norm1.*', *['layernorm_before.*'] * 2),
    ('norm2.*', 'norm2.*', *['layernorm_after.*'] * 2),
    ('ffn.layers.0.0.*', 'mlp.fc1.*', 'intermediate.dense.*', 'mlp.fc1.*'),
    ('ffn.layers.1.*', 'mlp.fc2.*', 'output.dense.*', 'mlp.fc2.*'),
]
# of the four outputs of any backbone but ResNet
_NORMS = [
    ('backbone.', 'backbone.', *[f'{ENCODER}hidden_states_norms.'] * 2),
    *((f'norm{n}.*', f'norm{n}.*', *[f'stage{n + 1}.*'] * 2) for n in _FOUR),
]
_SWIN = [
    *_SWIN_BLOCKS,
    ('backbone.stages.{i}.', 'backbone.layers.{i}.', ENCODER + _STAGE, f'{ENCODER}swin.{_STAGE}'),
    ('downsample.**', *['downsample.**'] * 3),
    *_NORMS,
]
# timm steps down at the beginning of a stage, not at the end of the one before
_SWIN_OF_TIMM = [
    *_SWIN_BLOCKS,
    *(
        row
        for n in range(3)
        for row in (
            (f'backbone.stages.{n}.', f'backbone.layers.{n + 1}.'),
            ('downsample.**', 'downsample.**'),
        )
    ),
]

_CONVNEXT = [
    # ours | SHI-Labs and Facebook | Hugging Face | timm
    ('backbone.downsample_layers.', 'backbone.downsample_layers.', ENCODER, 'backbone.'),
    ('0.0.*', '0.0.*', 'embeddings.patch_embeddings.*', 'stem.0.*'),
    ('0.1.*', '0.1.*', 'embeddings.layernorm.*', 'stem.1.*'),
    (
        *['{i}.{j}.*'] * 2,
        'encoder.stages.{i}.downsampling_layer.{j}.*',
        'stages.{i}.downsample.{j}.*',
    ),
    (
        *['backbone.stages.{i}.{j}.'] * 2,
        f'{ENCODER}encoder.stages.{{i}}.layers.{{j}}.',
        'backbone.stages.{i}.blocks.{j}.',
    ),
    ('gamma', 'gamma', 'layer_scale_parameter', 'gamma'),
    ('depthwise_conv.*', 'dwconv.*', 'dwconv.*', 'conv_dw.*'),
    ('norm.*', 'norm.*', 'layernorm.*', 'norm.*'),
    ('pointwise_conv1.*', 'pwconv1.*', 'pwconv1.*', 'mlp.fc1.*'),
    ('pointwise_conv2.*', 'pwconv2.*', 'pwconv2.*', 'mlp.fc2.*'),
]

_DINAT = [
    # ours, which are SHI-Labs' | Hugging Face
    ('backbone.', ENCODER),
    ('patch_embed.proj.{i}.*', 'embeddings.patch_embeddings.projection.{i}.*'),
    ('patch_embed.norm.*', 'embeddings.norm.*'),
    ('levels.{i}.downsample.**', 'encoder.levels.{i}.downsample.**'),
    ('backbone.levels.{i}.blocks.{j}.', f'{ENCODER}encoder.levels.{{i}}.layers.{{j}}.'),
    ('attn.qkv.*', tuple(f'attention.self.{part}.*' for part in _PARTS)),
    ('attn.rpb', 'attention.self.rpb'),
    ('attn.proj.*', 'attention.output.dense.*'),
    ('norm1.*', 'layernorm_before.*'),
    ('norm2.*', 'layernorm_after.*'),
    ('mlp.fc1.*', 'intermediate.dense.*'),
    ('mlp.fc2.*', 'output.dense.*'),
    *(row[1:3] for row in _NORMS),
]


# what is done to values, by our name: to ours, and back
_CHANGES = {
    f'backbone.stages.{stage}.downsample.{{rest}}': (unfold_order, pixel_order)
    for stage in ('{i}', 0, 1, 2)
}


def _backbone(name: str, rows: list[tuple], column: int, mark: str) -> Backbone:
    """A backbone as one column of its rows names it inside a OneFormer."""
    return Backbone(name, mark, rules_of(rows, column, _CHANGES))


_FIRST = f'{ENCODER}encoder.layers.0.blocks.0.attention.'
SHI_LABS = [
    _backbone('ResNet', _RESNET, 1, 'backbone.stem.conv1.weight'),
    _backbone('Swin', _SWIN, 1, 'backbone.layers.0.blocks.0.attn.qkv.weight'),
    _backbone('ConvNeXt', _CONVNEXT + _NORMS, 1, 'backbone.stages.0.0.dwconv.weight'),
    _backbone('DiNAT', _DINAT, 0, 'backbone.levels.0.blocks.0.attn.rpb'),
]
HUGGING_FACE = [
    _backbone('Swin', _SWIN, 2, f'{_FIRST}self.query.weight'),
    _backbone('Swin in memory', _SWIN, 3, f'{ENCODER}swin.{_FIRST[len(ENCODER) :]}q_proj.weight'),
    _backbone('DiNAT', _DINAT, 1, f'{ENCODER}encoder.levels.0.layers.0.attention.self.rpb'),
    _backbone(
        'ConvNeXt', _CONVNEXT + _NORMS, 2, f'{ENCODER}encoder.stages.0.layers.0.dwconv.weight'
    ),
]

_OURS = [Rule(('{rest}',), 'backbone.{rest}')]
_resnet, _swin, _convnext, _dinat = SHI_LABS
_TIMM_SWIN = _backbone('', _SWIN_OF_TIMM, 1, 'backbone.layers.3.downsample.reduction.weight')
_TIMM_CONVNEXT = _backbone('', _CONVNEXT, 3, 'backbone.stages.0.blocks.0.conv_dw.weight')

# files of backbones alone, as those who trained them on ImageNet publish them
BACKBONE_FILES = Layout(
    name='a backbone',
    head=[],
    backbones=[
        Backbone('ResNet of torchvision or OpenMMLab', 'layer1.0.conv1.weight', _OURS),
        _resnet.alone('backbone.', 'ResNet of detectron2'),
        _TIMM_SWIN.alone('backbone.', 'Swin of timm'),
        _swin.alone('backbone.', 'Swin of Microsoft'),
        Backbone('Swin of OpenMMLab', 'stages.0.blocks.0.attn.w_msa.qkv.weight', _OURS),
        _convnext.alone('backbone.', 'ConvNeXt of Facebook'),
        _TIMM_CONVNEXT.alone('backbone.', 'ConvNeXt of timm'),
        Backbone('ConvNeXt of OpenMMLab', 'stages.0.0.depthwise_conv.weight', _OURS),
        _dinat.alone('backbone.', 'DiNAT'),
        *(backbone.alone(ENCODER, f'{backbone.name} of Hugging Face') for backbone in HUGGING_FACE),
    ],
    unused=[
        # the classifier and the norm before it
        'fc.{leaf}',
        'stem.fc.{leaf}',
        'head.{rest}',
        'norm.{leaf}',
        'layernorm.{leaf}',
        'swin.layernorm.{leaf}',
        'classifier.{leaf}',
        # what is rebuilt
        '{rest}.num_batches_tracked',
        '{rest}.relative_position_index',
        '{rest}.attn_mask',
    ],
)


# all files of backbones alone; the first name that is recognised counts
FILES = (BACKBONE_FILES, VIT_FILES)


def _prefixes(backbone: Backbone, keys: Iterable[str]) -> list[str]:
    """What goes before the names of a backbone in a file; of several the published one's."""
    found = {
        key.removesuffix(mark): None
        for mark in (backbone.mark, *backbone.more_marks)
        for key in keys
        if f'.{key}'.endswith(f'.{mark}')
    }
    teachers = [prefix for prefix in found if 'teacher' in prefix.split('.')]
    return teachers if backbone.has_teacher and len(teachers) == 1 else list(found)


def find_backbone(keys: Iterable[str], path: str | os.PathLike) -> tuple[Backbone, str]:
    """Recognise a backbone, and what goes before its names, in a file of it or of a whole model.

    Args:
        keys: Names of the tensors of the file.
        path: The file, for messages.

    Raises:
        CheckpointError: If there is none, or more than one.
    """
    backbones = [backbone for layout in FILES for backbone in layout.backbones]
    for backbone in backbones:
        prefixes = _prefixes(backbone, keys)
        if len(prefixes) > 1:
            raise CheckpointError(
                f'{path} has more than one {backbone.name}: {", ".join(map(repr, prefixes))} go '
                'before their names; give a file with one of them'
            )
        if prefixes:
            return backbone, prefixes[0]
    known = ', '.join(dict.fromkeys(backbone.name for backbone in backbones))
    raise CheckpointError(
        f'{path} is not of a OneFormer, by the names of its tensors, and no backbone is recognised '
        f'of {known}; there are {", ".join(list(keys)[:5])} ...'
    )


def layout_of(backbone: Backbone) -> Layout:
    """The layout that ``find_backbone`` found a backbone in."""
    return next(layout for layout in FILES if any(b is backbone for b in layout.backbones))
