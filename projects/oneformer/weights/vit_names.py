"""Names of DINOv2 and DINOv3 in files of their own: a continuation of ``backbone_names``.

Ours are timm's, behind ``backbone.``. What a rule for one tensor cannot say is done before:

* training of DINOv2 numbers its blocks within chunks, ``blocks.C.N``;
* timm adds the position of the class token to the token, where there are registers;
* DINOv3 keeps biases of queries, keys and values in one tensor, and a mask by which those of keys
  are zero; timm has no biases of keys.
"""

import re
from collections.abc import Mapping
from functools import partial

from torch import Tensor

from .rules import Backbone, Layout, Prepared, rules_of

_PARTS = ('query', 'key', 'value')
_DINOV2 = [
    # ours, which are timm's | the original | Hugging Face in files | in memory
    ('backbone.', '', '', ''),
    ('cls_token', 'cls_token', *['embeddings.cls_token'] * 2),
    ('reg_token', 'register_tokens', *['embeddings.register_tokens'] * 2),
    ('pos_embed', 'pos_embed', *['embeddings.position_embeddings'] * 2),
    ('patch_embed.proj.*', 'patch_embed.proj.*', *['embeddings.patch_embeddings.projection.*'] * 2),
    ('norm.*', 'norm.*', *['layernorm.*'] * 2),
    ('backbone.blocks.{i}.', 'blocks.{i}.', *['encoder.layer.{i}.'] * 2),
    ('norm1.*', 'norm1.*', *['norm1.*'] * 2),
    ('norm2.*', 'norm2.*', *['norm2.*'] * 2),
    (
        'attn.qkv.*',
        'attn.qkv.*',
        tuple(f'attention.attention.{part}.*' for part in _PARTS),
        tuple(f'attention.{part}_proj.*' for part in 'qkv'),
    ),
    ('attn.proj.*', 'attn.proj.*', 'attention.output.dense.*', 'attention.o_proj.*'),
    ('ls1.gamma', 'ls1.gamma', *['layer_scale1.lambda1'] * 2),
    ('ls2.gamma', 'ls2.gamma', *['layer_scale2.lambda1'] * 2),
    ('mlp.fc1.*', 'mlp.fc1.*', *['mlp.fc1.*'] * 2),
    ('mlp.fc2.*', 'mlp.fc2.*', *['mlp.fc2.*'] * 2),
]
# of the giant: its gate comes first
_GATED_DINOV2 = [
    ('backbone.blocks.{i}.', 'blocks.{i}.', *['encoder.layer.{i}.'] * 2),
    ('mlp.fc1.*', 'mlp.w12.*', 'mlp.weights_in.*', ('mlp.gate_proj.*', 'mlp.up_proj.*')),
    ('mlp.fc2.*', 'mlp.w3.*', 'mlp.weights_out.*', 'mlp.down_proj.*'),
]
_REGISTERS_OF_TIMM = [('backbone.', ''), ('reg_token', 'reg_token')]

_DINOV3 = [
    # ours, which are timm's | the original, prepared | Hugging Face in files | in memory
    ('backbone.', '', '', ''),
    ('cls_token', 'cls_token', *['embeddings.cls_token'] * 2),
    ('reg_token', 'storage_tokens', *['embeddings.register_tokens'] * 2),
    ('patch_embed.proj.*', 'patch_embed.proj.*', *['embeddings.patch_embeddings.*'] * 2),
    ('norm.*', 'norm.*', *['norm.*'] * 2),
    ('backbone.blocks.{i}.', 'blocks.{i}.', 'layer.{i}.', 'model.layer.{i}.'),
    ('norm1.*', 'norm1.*', *['norm1.*'] * 2),
    ('norm2.*', 'norm2.*', *['norm2.*'] * 2),
    (
        'attn.qkv.weight',
        'attn.qkv.weight',
        *[tuple(f'attention.{part}_proj.weight' for part in 'qkv')] * 2,
    ),
    ('attn.q_bias', 'attn.q_bias', *['attention.q_proj.bias'] * 2),
    ('attn.v_bias', 'attn.v_bias', *['attention.v_proj.bias'] * 2),
    ('attn.proj.*', 'attn.proj.*', *['attention.o_proj.*'] * 2),
    ('gamma_1', 'ls1.gamma', *['layer_scale1.lambda1'] * 2),
    ('gamma_2', 'ls2.gamma', *['layer_scale2.lambda1'] * 2),
]
_BLOCK = _DINOV3[5]
_PLAIN_MLP = [
    _BLOCK,
    ('mlp.fc1.*', 'mlp.fc1.*', *['mlp.up_proj.*'] * 2),
    ('mlp.fc2.*', 'mlp.fc2.*', *['mlp.down_proj.*'] * 2),
]
_GATED_MLP = [
    _BLOCK,
    ('mlp.fc1_g.*', 'mlp.w1.*', *['mlp.gate_proj.*'] * 2),
    ('mlp.fc1_x.*', 'mlp.w2.*', *['mlp.up_proj.*'] * 2),
    ('mlp.fc2.*', 'mlp.w3.*', *['mlp.down_proj.*'] * 2),
]
_OF_TIMM = [
    ('backbone.', ''),
    *((name, name) for name in ('cls_token', 'reg_token', 'patch_embed.proj.*', 'norm.*')),
    ('backbone.blocks.{i}.', 'blocks.{i}.'),
    *((name, name) for name in ('gamma_1', 'gamma_2', 'norm1.*', 'norm2.*', 'attn.**', 'mlp.**')),
]

_CHUNKED = re.compile(r'blocks\.\d+\.(\d+\..+)')
_BIAS = re.compile(r'(blocks\.\d+\.attn\.)qkv\.bias')
_KEY_BIAS = re.compile(r'(?:model\.)?layer\.\d+\.attention\.k_proj\.bias')


def _in_one_list(tensors: Mapping[str, Tensor]) -> Prepared:
    """Blocks by their number in the network, which chunks do not change."""
    prepared = Prepared({})
    origins: dict[str, str] = {}
    for key, tensor in tensors.items():
        match = _CHUNKED.fullmatch(key)
        name = f'blocks.{match[1]}' if match else key
        if name in origins:
            prepared.broken.append(f'{key}: the same tensor as {origins[name]}')
        origins.setdefault(name, key)
        prepared.tensors.setdefault(name, tensor)
    return prepared


def _without_class_position(
    tensors: Mapping[str, Tensor], cls: str, positions: str, registers: str
) -> Prepared:
    """Add the first position to the class token, of a network that has registers."""
    prepared = _in_one_list(tensors)
    inside = prepared.tensors
    if {cls, positions, registers} <= inside.keys() and inside[positions].dim() == 3:
        table = inside[positions]
        if inside[cls].shape == table[:, :1].shape:
            inside[cls] = inside[cls] + table[:, :1]
            inside[positions] = table[:, 1:]
    return prepared


def _separate_biases(tensors: Mapping[str, Tensor]) -> Prepared:
    """DINOv3's biases of queries and values, after those of keys were found to be zero."""
    prepared = _in_one_list(tensors)
    inside = prepared.tensors
    masks = [key for key in inside if key.endswith('.qkv.bias_mask')]
    for key in [key for key in inside if _BIAS.fullmatch(key)]:
        bias, mask = inside.pop(key), inside.pop(f'{key}_mask', None)
        if mask is None and masks:
            prepared.broken.append(f'{key}_mask: missing beside {key}')
        elif mask is not None and mask.shape != bias.shape:
            prepared.broken.append(
                f'{key}_mask: {tuple(mask.shape)}, expected {tuple(bias.shape)} as of {key}'
            )
        if mask is not None and mask.shape == bias.shape:
            bias = bias * mask
        query, keys, value = bias.chunk(3)
        if keys.any():
            prepared.broken.append(f'{key}: biases of keys that {key}_mask does not make zero')
        block = key.removesuffix('qkv.bias')
        inside[f'{block}q_bias'], inside[f'{block}v_bias'] = query.clone(), value.clone()
    prepared.broken += [
        f'{key}: without {key.removesuffix("_mask")}' for key in masks if key in inside
    ]
    for key in masks:
        inside.pop(key, None)
    return prepared


def _without_key_biases(tensors: Mapping[str, Tensor]) -> Prepared:
    """The same for Hugging Face, where keys have biases only if a config says so."""
    found = [key for key in tensors if _KEY_BIAS.fullmatch(key)]
    return Prepared(
        {key: value for key, value in tensors.items() if key not in found},
        unused=[key for key in found if not tensors[key].any()],
        broken=[
            f'{key}: biases of keys, which DINOv3 has not' for key in found if tensors[key].any()
        ],
    )


def _layer_scales(block: str, name: str) -> tuple[str, ...]:
    return tuple(f'{block}{name.format(n)}' for n in (1, 2))


def _vit(name, rows, column, marks, prepare=None) -> Backbone:
    """A transformer as one column of its rows names it in a file."""
    mark, *more = marks
    return Backbone(name, mark, rules_of(rows, column, {}), tuple(more), prepare, has_teacher=True)


_fold = partial(
    _without_class_position, cls='cls_token', positions='pos_embed', registers='register_tokens'
)
_fold_hf = partial(
    _without_class_position,
    cls='embeddings.cls_token',
    positions='embeddings.position_embeddings',
    registers='embeddings.register_tokens',
)
_HF_SCALES = _layer_scales('layer.0.', 'layer_scale{}.lambda1')
_GATES = tuple(f'layer.0.mlp.gate_proj.{leaf}' for leaf in ('weight', 'bias'))
_MEMORY_OF_DINOV2 = tuple(
    f'encoder.layer.0.attention.{part}_proj.{leaf}' for part in 'qkv' for leaf in ('weight', 'bias')
)

VIT_FILES = Layout(
    name='a plain vision transformer',
    head=[],
    backbones=[
        _vit(
            'DINOv3 of Meta',
            _DINOV3 + _PLAIN_MLP + _GATED_MLP,
            1,
            ('storage_tokens', 'rope_embed.periods', 'blocks.0.attn.qkv.bias_mask'),
            _separate_biases,
        ),
        _vit('DINOv3 of timm', _OF_TIMM, 1, _layer_scales('blocks.0.', 'gamma_{}')),
        _vit(
            'DINOv2 of Meta or timm',
            _DINOV2 + _GATED_DINOV2 + _REGISTERS_OF_TIMM,
            1,
            _layer_scales('blocks.0.', 'ls{}.gamma') + _layer_scales('blocks.0.0.', 'ls{}.gamma'),
            _fold,
        ),
        _vit(
            'DINOv2 of Hugging Face in memory',
            _DINOV2 + _GATED_DINOV2,
            3,
            _MEMORY_OF_DINOV2,
            _fold_hf,
        ),
        _vit(
            'DINOv2 of Hugging Face',
            _DINOV2 + _GATED_DINOV2,
            2,
            tuple(f'encoder.{key}' for key in _HF_SCALES),
            _fold_hf,
        ),
        *(
            _vit(
                f'DINOv3 of Hugging Face{where}',
                _DINOV3 + mlp,
                column,
                tuple(prefix + key for key in marks),
                _without_key_biases,
            )
            for where, prefix, column in ((' in memory', 'model.', 3), ('', '', 2))
            for mlp, marks in ((_GATED_MLP, _GATES), (_PLAIN_MLP, _HF_SCALES))
        ),
    ],
    unused=[
        # of the pre-training
        'mask_token',
        'embeddings.mask_token',
        'local_cls_norm.{leaf}',
        # what is rebuilt
        'rope_embed.periods',
        'rope_embeddings.inv_freq',
        # a classifier
        'head.{leaf}',
    ],
)
