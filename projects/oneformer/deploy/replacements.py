"""Layers of mmcv and mmdet whose padding is decided by the size of each image, for any size.

Sides of exported models are multiples of the strides, so that the padding is a constant.
"""

import torch.nn.functional as F
from mmcv.cnn.bricks.conv2d_adaptive_padding import Conv2dAdaptivePadding
from mmdet.models.layers.transformer.utils import AdaptivePadding, PatchMerging
from torch import Tensor, nn


def replace_layers(module: nn.Module) -> None:
    """Replace the layers inside a module, in place."""
    for name, child in module.named_children():
        for kind, replacement in _REPLACEMENTS.items():
            if isinstance(child, kind):
                setattr(module, name, replacement(child))
                break
        else:
            replace_layers(child)


def _constant_padding(layer: nn.Module) -> list[tuple[int, int]]:
    """Before and behind, of height and width, for sides that the stride divides."""
    padding = []
    for size, stride, dilation in zip(layer.kernel_size, layer.stride, layer.dilation):
        total = max((size - 1) * dilation + 1 - stride, 0)
        padding.append((total // 2, total - total // 2))
    return padding


class _PaddedConv(nn.Module):
    """``Conv2dAdaptivePadding``."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        (top, bottom), (left, right) = _constant_padding(conv)
        self.padding = left, right, top, bottom

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        x = F.pad(x, self.padding)
        return F.conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def _corner_padding(layer: AdaptivePadding) -> nn.Module:
    """``AdaptivePadding``."""
    kernel = [layer.kernel_size, layer.stride, layer.dilation]
    sizes, strides, dilations = ((x, x) if isinstance(x, int) else x for x in kernel)
    totals = [
        max((size - 1) * dilation + 1 - stride, 0)
        for size, stride, dilation in zip(sizes, strides, dilations)
    ]
    if not any(totals):
        return nn.Identity()
    height, width = totals
    if layer.padding == 'corner':
        return nn.ZeroPad2d((0, width, 0, height))
    return nn.ZeroPad2d((width // 2, width - width // 2, height // 2, height - height // 2))


class _MergedPatches(nn.Module):
    """``PatchMerging`` of neighbours that do not overlap."""

    def __init__(self, merging: PatchMerging) -> None:
        super().__init__()
        sampler = merging.sampler
        sides = {*sampler.kernel_size, *sampler.stride}
        if len(sides) > 1 or set(sampler.dilation) != {1} or set(sampler.padding) != {0}:
            raise ValueError(
                f'PatchMerging with {sampler} cannot be exported: patches have to be squares that '
                'do not overlap'
            )
        (self.side,) = sides
        self.norm, self.reduction = merging.norm, merging.reduction

    def forward(self, x: Tensor, input_size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        height, width = (side // self.side for side in input_size)
        side = self.side
        x = x.unflatten(1, (height, side, width, side))
        x = x.permute(0, 1, 3, 5, 2, 4).flatten(3).flatten(1, 2)  # B hw 4C, channels first
        if self.norm is not None:
            x = self.norm(x)
        return self.reduction(x), (height, width)


_REPLACEMENTS = {
    Conv2dAdaptivePadding: _PaddedConv,
    AdaptivePadding: _corner_padding,
    PatchMerging: _MergedPatches,
}
