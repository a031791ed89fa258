"""Weights of a backbone alone, as those who trained it on ImageNet publish them, under our names.

Their names are those inside a OneFormer of the original or of Hugging Face, without what goes
before them there, or names of a library of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F

from ..host.errors import CheckpointError, key_list
from .huggingface import ENCODER, HUGGINGFACE
from .layout import (
    Backbone,
    Layout,
    Rule,
    rebuilt_by_us,
    unfold_order,
)
from .official import OFFICIAL

PREFIX = 'backbone.'
_TABLE = '.relative_position_bias_table'


def _without_prefix(backbone: Backbone, prefix: str, name: str) -> Backbone:
    """A backbone whose foreign names do not begin with ``prefix``."""
    rules = [
        replace(rule, foreign=tuple(part.removeprefix(prefix) for part in rule.parts))
        for rule in backbone.rules
    ]
    return Backbone(name, backbone.mark.removeprefix(prefix), rules)


_TIMM_CONVNEXT = [
    Rule('stem.{j}.{leaf}', 'backbone.downsample_layers.0.{j}.{leaf}'),
    Rule('stages.{i}.downsample.{j}.{leaf}', 'backbone.downsample_layers.{i}.{j}.{leaf}'),
    *(
        Rule(f'stages.{{i}}.blocks.{{j}}.{theirs}', f'backbone.stages.{{i}}.{{j}}.{ours}')
        for theirs, ours in (
            ('gamma', 'gamma'),
            ('conv_dw.{leaf}', 'depthwise_conv.{leaf}'),
            ('norm.{leaf}', 'norm.{leaf}'),
            ('mlp.fc1.{leaf}', 'pointwise_conv1.{leaf}'),
            ('mlp.fc2.{leaf}', 'pointwise_conv2.{leaf}'),
        )
    ),
]

_HUGGINGFACE_CONVNEXT = [
    Rule('embeddings.patch_embeddings.{leaf}', 'backbone.downsample_layers.0.0.{leaf}'),
    Rule('embeddings.layernorm.{leaf}', 'backbone.downsample_layers.0.1.{leaf}'),
    Rule(
        'encoder.stages.{i}.downsampling_layer.{j}.{leaf}',
        'backbone.downsample_layers.{i}.{j}.{leaf}',
    ),
    *(
        Rule(f'encoder.stages.{{i}}.layers.{{j}}.{theirs}', f'backbone.stages.{{i}}.{{j}}.{ours}')
        for theirs, ours in (
            ('layer_scale_parameter', 'gamma'),
            ('dwconv.{leaf}', 'depthwise_conv.{leaf}'),
            ('layernorm.{leaf}', 'norm.{leaf}'),
            ('pwconv1.{leaf}', 'pointwise_conv1.{leaf}'),
            ('pwconv2.{leaf}', 'pointwise_conv2.{leaf}'),
        )
    ),
    *(
        Rule(f'hidden_states_norms.stage{n + 1}.{{leaf}}', f'backbone.norm{n}.{{leaf}}')
        for n in range(4)
    ),
]

_RESNET, _SWIN, _CONVNEXT, _DINAT = (
    _without_prefix(backbone, PREFIX, name)
    for backbone, name in zip(
        OFFICIAL.backbones,
        ('ResNet of detectron2', 'Swin of Microsoft', 'ConvNeXt of Facebook', 'DiNAT'),
        strict=True,
    )
)

# timm of 2023 and later takes the step down at the beginning of a stage, not at the end of the last
_TIMM_SWIN = [
    *(
        Rule(
            f'layers.{n + 1}.downsample.{{rest}}',
            f'backbone.stages.{n}.downsample.{{rest}}',
            unfold_order,
        )
        for n in range(3)
    ),
    *_SWIN.rules,
]

_OURS = [Rule('{rest}', 'backbone.{rest}')]

SOURCES = Layout(
    name='a backbone',
    head=[],
    backbones=[
        Backbone('ResNet of torchvision or OpenMMLab', 'layer1.0.conv1.weight', _OURS),
        _RESNET,
        Backbone('Swin of timm', 'layers.3.downsample.reduction.weight', _TIMM_SWIN),
        _SWIN,
        Backbone('Swin of OpenMMLab', 'stages.0.blocks.0.attn.w_msa.qkv.weight', _OURS),
        _CONVNEXT,
        Backbone('ConvNeXt of timm', 'stages.0.blocks.0.conv_dw.weight', _TIMM_CONVNEXT),
        Backbone('ConvNeXt of OpenMMLab', 'stages.0.0.depthwise_conv.weight', _OURS),
        Backbone(
            'ConvNeXt of Hugging Face',
            'encoder.stages.0.layers.0.dwconv.weight',
            _HUGGINGFACE_CONVNEXT,
        ),
        _DINAT,
        *(
            _without_prefix(backbone, ENCODER, f'{backbone.name} of Hugging Face')
            for backbone in HUGGINGFACE.backbones
        ),
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


@dataclass
class BackboneWeights:
    """Tensors of a backbone under our names.

    Attributes:
        name: Who made the file.
        tensors: By our names, without ``backbone.``.
        unused: Names in the file of what a backbone does not use.
        others: Numbers of tensors beside the backbone, by the first part of their names.
    """

    name: str
    tensors: dict[str, Tensor]
    unused: list[str]
    others: dict[str, int]

    @property
    def left_out(self) -> list[str]:
        """Lines for what is in the file and not in a backbone."""
        return self.unused + [f'{part}.* ({count} tensors)' for part, count in self.others.items()]


def find_backbone(keys: Mapping[str, Tensor]) -> tuple[Backbone, str]:
    """Recognise a backbone, and what goes before its names, in a file of it or of a whole model.

    Raises:
        CheckpointError: If there is none, or more than one.
    """
    for backbone in SOURCES.backbones:
        prefixes = [
            key.removesuffix(backbone.mark)
            for key in keys
            if f'.{key}'.endswith(f'.{backbone.mark}')
        ]
        if len(prefixes) > 1:
            raise CheckpointError(
                f'there is more than one {backbone.name}: {", ".join(map(repr, prefixes))} go '
                'before their names'
            )
        if prefixes:
            return backbone, prefixes[0]
    known = ', '.join(backbone.name for backbone in SOURCES.backbones)
    some = ', '.join(list(keys)[:5])
    raise CheckpointError(f'no backbone is recognised of {known}; there are {some} ...')


def translate_backbone(source: Mapping[str, Tensor]) -> BackboneWeights:
    """Rename the tensors of a backbone, found in a file of it or of a whole model.

    Raises:
        CheckpointError: If none is recognised, or with the names that belong to none.
    """
    backbone, prefix = find_backbone(source)
    inside = {k.removeprefix(prefix): v for k, v in source.items() if k.startswith(prefix)}
    others: dict[str, int] = {}
    for key in source:
        if not key.startswith(prefix):
            part = key.split('.')[0]
            others[part] = others.get(part, 0) + 1
    translation = SOURCES.to_ours(inside)
    lists = [
        key_list('unknown', [prefix + key for key in translation.unknown]),
        key_list('wrong shape', translation.broken),
    ]
    if any(lists):
        raise CheckpointError(f'as {backbone.name}:\n' + '\n'.join(filter(None, lists)))
    tensors = {key.removeprefix(PREFIX): v for key, v in translation.tensors.items()}
    unused = [prefix + key for key in translation.unused]
    return BackboneWeights(backbone.name, tensors, unused, others)


def resize_table(table: Tensor, rows: int) -> Tensor:
    """Interpolate Swin's bias table, of shape ((2 w - 1) ** 2, heads), for another window w.

    Bicubic, as Swin's own code does it.
    """
    old, new = round(len(table) ** 0.5), round(rows**0.5)
    grid = table.T.reshape(1, -1, old, old).float()
    grid = F.interpolate(grid, size=(new, new), mode='bicubic')
    return grid.flatten(2)[0].T.to(table.dtype).contiguous()


@dataclass
class Fitted:
    """Tensors that fit a backbone.

    Attributes:
        tensors: By our names, without ``backbone.``.
        fresh: Names of output norms that the weights do not have.
        resized: Names of bias tables that were interpolated.
        unused: Names of norms of outputs that the backbone does not return.
    """

    tensors: dict[str, Tensor]
    fresh: list[str]
    resized: list[str]
    unused: list[str]


def _is_output_norm(key: str) -> bool:
    return key.startswith(('norm0.', 'norm1.', 'norm2.', 'norm3.'))


def fit_backbone(weights: BackboneWeights, shapes: Mapping[str, tuple[int, ...]]) -> Fitted:
    """Compare weights with the backbone they are for.

    Args:
        weights: Of the file.
        shapes: Of all tensors of the backbone, by our names without ``backbone.``.

    Raises:
        CheckpointError: With the names of what is missing, unknown or of a wrong shape.
    """
    fitted = Fitted({}, [], [], [])
    missing, unknown, wrong = [], [], []
    for key, shape in shapes.items():
        tensor = weights.tensors.get(key)
        if rebuilt_by_us(key):
            continue
        if tensor is None:
            (fitted.fresh if _is_output_norm(key) else missing).append(key)
            continue
        is_table = key.endswith(_TABLE) and tensor.dim() == 2
        if is_table and tensor.shape[1] == shape[1] and len(tensor) != shape[0]:
            tensor = resize_table(tensor, shape[0])
            fitted.resized.append(key)
        if tuple(tensor.shape) != tuple(shape):
            wrong.append(f'{key}: {tuple(tensor.shape)}, expected {tuple(shape)}')
        fitted.tensors[key] = tensor
    for key in weights.tensors:
        if key not in shapes:
            (fitted.unused if _is_output_norm(key) else unknown).append(key)
    lists = [
        key_list('missing', missing),
        key_list('unknown', unknown),
        key_list('wrong shape', wrong),
    ]
    if any(lists):
        raise CheckpointError(f'as {weights.name}:\n' + '\n'.join(filter(None, lists)))
    return fitted
