"""The plain vision transformers that timm builds for ``PlainViT``."""

from collections.abc import Mapping

from torch import nn

from .timm_parts import import_timm

# ours | timm's
ARCHITECTURES = {
    'dinov2_s': 'vit_small_patch14_dinov2',
    'dinov2_b': 'vit_base_patch14_dinov2',
    'dinov2_l': 'vit_large_patch14_dinov2',
    'dinov2_g': 'vit_giant_patch14_dinov2',
    'dinov2_s_reg4': 'vit_small_patch14_reg4_dinov2',
    'dinov2_b_reg4': 'vit_base_patch14_reg4_dinov2',
    'dinov2_l_reg4': 'vit_large_patch14_reg4_dinov2',
    'dinov2_g_reg4': 'vit_giant_patch14_reg4_dinov2',
    'dinov3_s': 'vit_small_patch16_dinov3',
    'dinov3_s+': 'vit_small_plus_patch16_dinov3',
    'dinov3_b': 'vit_base_patch16_dinov3',
    'dinov3_l': 'vit_large_patch16_dinov3',
    'dinov3_h+': 'vit_huge_plus_patch16_dinov3',
}
OWN_PATCH = dict(dinov2=14, dinov3=16)
OWN_GRID = 37  # of DINOv2's positions: 518 pixels, in patches of 14


def random_vit(arch: str, img_size: tuple[int, int], options: Mapping) -> nn.Module:
    """timm's model of random weights; nothing is downloaded.

    Args:
        arch: A key of ``ARCHITECTURES``.
        img_size: Height and width in pixels that its table of positions is for.
        options: Arguments of timm's model; None is as in ``arch``.

    Raises:
        ModuleNotFoundError: If timm is not installed or too old.
    """
    timm, name = import_timm('PlainViT'), ARCHITECTURES[arch]
    if not timm.is_model(name):
        raise ModuleNotFoundError(
            f'model.backbone.arch={arch!r} is not in timm {timm.__version__}: '
            'pip install "oneformer[timm]", which wants a newer one'
        )
    return timm.create_model(
        name,
        pretrained=False,
        num_classes=0,
        img_size=img_size,
        dynamic_img_size=True,
        **{key: value for key, value in options.items() if value is not None},
    )
