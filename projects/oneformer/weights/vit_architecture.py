"""Configs of plain vision transformers and of models of timm, by shapes and what stands beside."""

from collections.abc import Mapping
from math import isqrt

from ..host.errors import CheckpointError
from .shapes import Shapes, count

_VIT_OPTIONS = (
    *('arch', 'patch_size', 'img_size', 'antialias', 'qkv_bias'),
    *('embed_dims', 'depth', 'num_heads'),
)
_TIMM_OPTIONS = ('model_name', 'img_size', 'model_args')
# by channels and blocks
_VIT_SIZES = {
    'dinov2': {(384, 12): 's', (768, 12): 'b', (1024, 24): 'l', (1536, 40): 'g'},
    'dinov3': {(384, 12): 's', (768, 12): 'b', (1024, 24): 'l', (1280, 32): 'h+'},
}


def _published(shapes: Shapes) -> dict:
    """Options of a network of a published size, whose heads have 64 channels."""
    channels, depth = shapes['backbone.cls_token'][-1], count(shapes, 'backbone.blocks.')
    patch = shapes['backbone.patch_embed.proj.weight'][-1]
    family = 'dinov3' if 'backbone.blocks.0.gamma_1' in shapes else 'dinov2'
    size = _VIT_SIZES[family].get((channels, depth))
    if size is None:
        raise CheckpointError(
            f'a {family} with {depth} blocks of {channels} channels is none of the published ones: '
            'give the config that it was trained with'
        )
    if family == 'dinov3':
        is_gated = 'backbone.blocks.0.mlp.fc1_g.weight' in shapes
        return dict(
            arch=f'dinov3_{size}{"+" if is_gated and size == "s" else ""}',
            patch_size=patch,
            qkv_bias='backbone.blocks.0.attn.q_bias' in shapes,
        )
    has_registers = 'backbone.reg_token' in shapes
    side = isqrt(shapes['backbone.pos_embed'][1] - (not has_registers))
    arch = f'dinov2_{size}{"_reg4" if has_registers else ""}'
    return dict(arch=arch, patch_size=patch, img_size=side * patch)


def plain_vit_config(shapes: Shapes, options: Mapping) -> dict:
    """Config of a DINOv2 or DINOv3, as its checkpoint says it, or of a published size."""
    given = {name: value for name, value in options.items() if name in _VIT_OPTIONS}
    if 'arch' not in given:
        given = _published(shapes)
    levels = count(shapes, 'backbone.pyramid.levels.')
    last = shapes.get(f'backbone.pyramid.levels.{levels - 1}.3.weight')
    pyramid = dict(pyramid=levels > 0, out_channels=last[0] if last else None)
    return dict(type='PlainViT', **given, **pyramid)


def timm_config(shapes: Shapes, options: Mapping) -> dict:
    """Config of a model of timm, as its checkpoint says it."""
    given = {name: value for name, value in options.items() if name in _TIMM_OPTIONS}
    return dict(type='TimmBackbone', **given)
