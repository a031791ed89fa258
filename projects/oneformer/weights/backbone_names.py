"""Names of backbones, inside a OneFormer and in files of their own: a continuation of ``names``.

A column of a table is a way in which files name the tensors.
"""

import os
from collections.abc import Iterable

from ..host.errors import CheckpointError
from .rules import Backbone, Layout, Rule, pixel_order, rules_of, unfold_order

ENCODER = 'model.pixel_level_module.encoder.'
_FOUR = range(4)

_RESNET = [
    # ours | SHI-Labs, who have detectron2's
    ('backbone.', 'backbone.stem.'),
    ('conv1.weight', 'conv1.weight'),
    ('bn1.{leaf}', 'conv1.norm.{leaf}'),
    *(
        row
        for n in _FOUR
        for row in (
            (f'backbone.layer{n + 1}.{{i}}.', f'backbone.res{n + 2}.{{i}}.'),
            ('downsample.0.weight', 'shortcut.weight'),
            ('downsample.1.{leaf}', 'shortcut.norm.{leaf}'),
            ('conv{j}.weight', 'conv{j}.weight'),
            ('bn{j}.{leaf}', 'conv{j}.norm.{leaf}'),
        )
    ),
]

_BLOCK, _STAGE = 'blocks.{j}.', 'encoder.layers.{i}.'
_SWIN = [
    # ours | SHI-Labs and Microsoft | Hugging Face in files | in memory | timm of 2023 and later
    ('backbone.', 'backbone.', ENCODER, f'{ENCODER}swin.', 'backbone.'),
    (
        'patch_embed.projection.{leaf}',
        'patch_embed.proj.{leaf}',
        'embeddings.patch_embeddings.projection.{leaf}',
        'embeddings.patch_embeddings.projection.{leaf}',
        'patch_embed.proj.{leaf}',
    ),
    (
        'patch_embed.norm.{leaf}',
        'patch_embed.norm.{leaf}',
        'embeddings.norm.{leaf}',
        'embeddings.norm.{leaf}',
        'patch_embed.norm.{leaf}',
    ),
    (
        'backbone.stages.{i}.blocks.{j}.',
        'backbone.layers.{i}.blocks.{j}.',
        ENCODER + _STAGE + _BLOCK,
        f'{ENCODER}swin.' + _STAGE + _BLOCK,
        'backbone.layers.{i}.blocks.{j}.',
    ),
    (
        'attn.w_msa.qkv.{leaf}',
        'attn.qkv.{leaf}',
        tuple(f'attention.self.{part}.{{leaf}}' for part in ('query', 'key', 'value')),
        tuple(f'attention.{part}_proj.{{leaf}}' for part in 'qkv'),
        'attn.qkv.{leaf}',
    ),
    (
        'attn.w_msa.relative_position_bias_table',
        'attn.relative_position_bias_table',
        'attention.self.relative_position_bias_table',
        'attention.relative_position_bias.relative_position_bias_table',
        'attn.relative_position_bias_table',
    ),
    (
        'attn.w_msa.proj.{leaf}',
        'attn.proj.{leaf}',
        'attention.output.dense.{leaf}',
        'attention.o_proj.{leaf}',
        'attn.proj.{leaf}',
    ),
    ('norm1.{leaf}', 'norm1.{leaf}', *['layernorm_before.{leaf}'] * 2, 'norm1.{leaf}'),
    ('norm2.{leaf}', 'norm2.{leaf}', *['layernorm_after.{leaf}'] * 2, 'norm2.{leaf}'),
    (
        'ffn.layers.0.0.{leaf}',
        'mlp.fc1.{leaf}',
        'intermediate.dense.{leaf}',
        'mlp.fc1.{leaf}',
        'mlp.fc1.{leaf}',
    ),
    (
        'ffn.layers.1.{leaf}',
        'mlp.fc2.{leaf}',
        'output.dense.{leaf}',
        'mlp.fc2.{leaf}',
        'mlp.fc2.{leaf}',
    ),
    (
        'backbone.stages.{i}.',
        'backbone.layers.{i}.',
        ENCODER + _STAGE,
        f'{ENCODER}swin.' + _STAGE,
        None,
    ),
    ('downsample.{rest}', *['downsample.{rest}'] * 3, None),
    # timm steps down at the beginning of a stage, not at the end of the one before
    *(
        row
        for n in range(3)
        for row in (
            (f'backbone.stages.{n}.', None, None, None, f'backbone.layers.{n + 1}.'),
            ('downsample.{rest}', None, None, None, 'downsample.{rest}'),
        )
    ),
    ('backbone.', 'backbone.', f'{ENCODER}hidden_states_norms.', f'{ENCODER}hidden_states_norms.'),
    *((f'norm{n}.{{leaf}}', f'norm{n}.{{leaf}}', *[f'stage{n + 1}.{{leaf}}'] * 2) for n in _FOUR),
]

_CONVNEXT = [
    # ours | SHI-Labs and Facebook | Hugging Face | timm
    ('backbone.downsample_layers.', 'backbone.downsample_layers.', ENCODER, 'backbone.'),
    ('0.0.{leaf}', '0.0.{leaf}', 'embeddings.patch_embeddings.{leaf}', 'stem.0.{leaf}'),
    ('0.1.{leaf}', '0.1.{leaf}', 'embeddings.layernorm.{leaf}', 'stem.1.{leaf}'),
    (
        '{i}.{j}.{leaf}',
        '{i}.{j}.{leaf}',
        'encoder.stages.{i}.downsampling_layer.{j}.{leaf}',
        'stages.{i}.downsample.{j}.{leaf}',
    ),
    (
        'backbone.stages.{i}.{j}.',
        'backbone.stages.{i}.{j}.',
        f'{ENCODER}encoder.stages.{{i}}.layers.{{j}}.',
        'backbone.stages.{i}.blocks.{j}.',
    ),
    ('gamma', 'gamma', 'layer_scale_parameter', 'gamma'),
    ('depthwise_conv.{leaf}', 'dwconv.{leaf}', 'dwconv.{leaf}', 'conv_dw.{leaf}'),
    ('norm.{leaf}', 'norm.{leaf}', 'layernorm.{leaf}', 'norm.{leaf}'),
    ('pointwise_conv1.{leaf}', 'pwconv1.{leaf}', 'pwconv1.{leaf}', 'mlp.fc1.{leaf}'),
    ('pointwise_conv2.{leaf}', 'pwconv2.{leaf}', 'pwconv2.{leaf}', 'mlp.fc2.{leaf}'),
    ('backbone.', 'backbone.', f'{ENCODER}hidden_states_norms.'),
    *((f'norm{n}.{{leaf}}', f'norm{n}.{{leaf}}', f'stage{n + 1}.{{leaf}}') for n in _FOUR),
]

_DINAT = [
    # ours | SHI-Labs, whose names our modules have | Hugging Face
    ('backbone.', 'backbone.', ENCODER),
    (
        'patch_embed.proj.{i}.{leaf}',
        'patch_embed.proj.{i}.{leaf}',
        'embeddings.patch_embeddings.projection.{i}.{leaf}',
    ),
    ('patch_embed.norm.{leaf}', 'patch_embed.norm.{leaf}', 'embeddings.norm.{leaf}'),
    (*['levels.{i}.downsample.{rest}'] * 2, 'encoder.levels.{i}.downsample.{rest}'),
    (
        *['backbone.levels.{i}.blocks.{j}.'] * 2,
        f'{ENCODER}encoder.levels.{{i}}.layers.{{j}}.',
    ),
    (
        *['attn.qkv.{leaf}'] * 2,
        tuple(f'attention.self.{part}.{{leaf}}' for part in ('query', 'key', 'value')),
    ),
    ('attn.rpb', 'attn.rpb', 'attention.self.rpb'),
    ('attn.proj.{leaf}', 'attn.proj.{leaf}', 'attention.output.dense.{leaf}'),
    ('norm1.{leaf}', 'norm1.{leaf}', 'layernorm_before.{leaf}'),
    ('norm2.{leaf}', 'norm2.{leaf}', 'layernorm_after.{leaf}'),
    ('mlp.fc1.{leaf}', 'mlp.fc1.{leaf}', 'intermediate.dense.{leaf}'),
    ('mlp.fc2.{leaf}', 'mlp.fc2.{leaf}', 'output.dense.{leaf}'),
    ('backbone.', 'backbone.', f'{ENCODER}hidden_states_norms.'),
    *((f'norm{n}.{{leaf}}', f'norm{n}.{{leaf}}', f'stage{n + 1}.{{leaf}}') for n in _FOUR),
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
    _backbone('ConvNeXt', _CONVNEXT, 1, 'backbone.stages.0.0.dwconv.weight'),
    _backbone('DiNAT', _DINAT, 1, 'backbone.levels.0.blocks.0.attn.rpb'),
]
HUGGING_FACE = [
    _backbone('Swin', _SWIN, 2, f'{_FIRST}self.query.weight'),
    _backbone('Swin in memory', _SWIN, 3, f'{ENCODER}swin.{_FIRST[len(ENCODER) :]}q_proj.weight'),
    _backbone('DiNAT', _DINAT, 2, f'{ENCODER}encoder.levels.0.layers.0.attention.self.rpb'),
    _backbone('ConvNeXt', _CONVNEXT, 2, f'{ENCODER}encoder.stages.0.layers.0.dwconv.weight'),
]

_OURS = [Rule(('{rest}',), 'backbone.{rest}')]
_RESNET_ALONE, _SWIN_ALONE, _CONVNEXT_ALONE, _DINAT_ALONE = (
    backbone.alone('backbone.', name)
    for backbone, name in zip(
        SHI_LABS,
        ('ResNet of detectron2', 'Swin of Microsoft', 'ConvNeXt of Facebook', 'DiNAT'),
        strict=True,
    )
)
_TIMM_SWIN = _backbone('', _SWIN, 4, 'backbone.layers.3.downsample.reduction.weight')
_TIMM_CONVNEXT = _backbone('', _CONVNEXT, 3, 'backbone.stages.0.blocks.0.conv_dw.weight')

# files of backbones alone, as those who trained them on ImageNet publish them
BACKBONE_FILES = Layout(
    name='a backbone',
    head=[],
    backbones=[
        Backbone('ResNet of torchvision or OpenMMLab', 'layer1.0.conv1.weight', _OURS),
        _RESNET_ALONE,
        _TIMM_SWIN.alone('backbone.', 'Swin of timm'),
        _SWIN_ALONE,
        Backbone('Swin of OpenMMLab', 'stages.0.blocks.0.attn.w_msa.qkv.weight', _OURS),
        _CONVNEXT_ALONE,
        _TIMM_CONVNEXT.alone('backbone.', 'ConvNeXt of timm'),
        Backbone('ConvNeXt of OpenMMLab', 'stages.0.0.depthwise_conv.weight', _OURS),
        _DINAT_ALONE,
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


def find_backbone(keys: Iterable[str], path: str | os.PathLike) -> tuple[Backbone, str]:
    """Recognise a backbone, and what goes before its names, in a file of it or of a whole model.

    Args:
        keys: Names of the tensors of the file.
        path: The file, for messages.

    Raises:
        CheckpointError: If there is none, or more than one.
    """
    for backbone in BACKBONE_FILES.backbones:
        prefixes = [
            key.removesuffix(backbone.mark)
            for key in keys
            if f'.{key}'.endswith(f'.{backbone.mark}')
        ]
        if len(prefixes) > 1:
            raise CheckpointError(
                f'{path} has more than one {backbone.name}: {", ".join(map(repr, prefixes))} go '
                'before their names; give a file with one of them'
            )
        if prefixes:
            return backbone, prefixes[0]
    known = ', '.join(backbone.name for backbone in BACKBONE_FILES.backbones)
    raise CheckpointError(
        f'{path} is not of a OneFormer, by the names of its tensors, and no backbone is recognised '
        f'of {known}; there are {", ".join(list(keys)[:5])} ...'
    )
