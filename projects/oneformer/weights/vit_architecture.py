"""Configs of plain vision transformers and of models of timm, by shapes and what stands beside."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

from ..host.errors import CheckpointError
from .shapes import Shapes, count

_VIT_OPTIONS = (
    *('arch', 'patch_size', 'img_size', 'antialias', 'qkv_bias'),
    *('embed_dims', 'depth', 'num_heads'),
)
_TIMM_OPTIONS = ('model_name', 'img_size', 'model_args')
# by channels and blocks
_SIZES = {
    'dinov2': {(384, 12): 's', (768, 12): 'b', (1024, 24): 'l', (1536, 40): 'g'},
    'dinov3': {(384, 12): 's', (768, 12): 'b', (1024, 24): 'l', (1280, 32): 'h+'},
}
_HEAD_WIDTH = 64  # channels of an attention head of every published DINOv2 and DINOv3


@dataclass(frozen=True)
class VisionTransformer:
    """What shapes tell of a DINOv2 or DINOv3.

    Attributes:
        family: ``'dinov2'`` or ``'dinov3'``.
        channels: Channels of a token.
        depth: Number of blocks.
        patch_size: Side of a patch in pixels.
        num_registers: Number of register tokens.
        inner: Channels inside an MLP; of gated ones that are in one tensor, of both.
        is_gated: Whether MLPs have gates (SwiGLU).
        has_bias: Whether queries and values have biases, of DINOv3.
        img_size: Side in pixels of the square that DINOv2's table of positions is for.
    """

    family: str
    channels: int
    depth: int
    patch_size: int
    num_registers: int
    inner: int
    is_gated: bool
    has_bias: bool
    img_size: int | None

    @property
    def size(self) -> str | None:
        """The published size, ``'s'`` to ``'h+'``, None if it is none of them."""
        return _SIZES[self.family].get((self.channels, self.depth))

    @property
    def num_heads(self) -> int:
        """Number of heads, if they are as wide as those of published networks."""
        return max(self.channels // _HEAD_WIDTH, 1)

    def options(self) -> dict:
        """Arguments of ``PlainViT``; those of another size are of the smallest one, changed."""
        size = self.size or ('g' if self.family == 'dinov2' and self.is_gated else 's')
        if self.family == 'dinov2':
            arch = f'dinov2_{size}{"_reg4" if self.num_registers else ""}'
            own: dict = dict(img_size=self.img_size)
        else:
            arch = f'dinov3_{size}{"+" if self.is_gated and size == "s" else ""}'
            own = dict(qkv_bias=self.has_bias)
        if self.size is None:
            own.update(embed_dims=self.channels, depth=self.depth, num_heads=self.num_heads)
        return dict(arch=arch, patch_size=self.patch_size, **own)


def read_vit(shapes: Shapes) -> VisionTransformer:
    """What shapes tell of a DINOv2 or DINOv3.

    Raises:
        KeyError: With our name of a tensor that is needed here and missing.
    """
    channels, _, patch, _ = shapes['backbone.patch_embed.proj.weight']
    is_newer = any(key.startswith('backbone.') and key.endswith('.gamma_1') for key in shapes)
    mlp = 'backbone.blocks.0.mlp.'
    gates_apart = is_newer and f'{mlp}fc1_g.weight' in shapes
    inner = shapes[f'{mlp}fc1_g.bias' if gates_apart else f'{mlp}fc1.bias'][0]
    return VisionTransformer(
        family='dinov3' if is_newer else 'dinov2',
        channels=channels,
        depth=count(shapes, 'backbone.blocks.'),
        patch_size=patch,
        num_registers=shapes.get('backbone.reg_token', (1, 0, channels))[1],
        inner=inner,
        is_gated=gates_apart or inner == 2 * shapes[f'{mlp}fc2.weight'][1],
        has_bias='backbone.blocks.0.attn.q_bias' in shapes,
        img_size=None if is_newer else table_size(shapes),
    )


def table_size(shapes: Shapes) -> int:
    """Side in pixels of the square that DINOv2's table of positions is for."""
    patch = shapes['backbone.patch_embed.proj.weight'][-1]
    # without registers it has a position of the class token, too
    return patch * isqrt(shapes['backbone.pos_embed'][1])


def told_options(options: Mapping) -> dict:
    """Arguments of ``PlainViT`` among what a checkpoint says of its backbone."""
    return {name: value for name, value in options.items() if name in _VIT_OPTIONS}


def plain_vit_config(shapes: Shapes, options: Mapping) -> dict:
    """Config of a DINOv2 or DINOv3, as its checkpoint says it, or of a published size."""
    given = told_options(options)
    if 'arch' not in given:
        vit = read_vit(shapes)
        if vit.size is None:
            raise CheckpointError(
                f'a {vit.family} with {vit.depth} blocks of {vit.channels} channels is none of the '
                'published ones: give the config that it was trained with'
            )
        given = vit.options()
    levels = count(shapes, 'backbone.pyramid.levels.')
    last = shapes.get(f'backbone.pyramid.levels.{levels - 1}.3.weight')
    pyramid = dict(pyramid=levels > 0, out_channels=last[0] if last else None)
    return dict(type='PlainViT', **given, **pyramid)


def timm_config(shapes: Shapes, options: Mapping) -> dict:
    """Config of a model of timm, as its checkpoint says it."""
    given = {name: value for name, value in options.items() if name in _TIMM_OPTIONS}
    return dict(type='TimmBackbone', **given)
