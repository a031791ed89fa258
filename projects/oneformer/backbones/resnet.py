"""mmdet's ResNet, with fixed norms folded into the convolutions before them.

A batch norm that uses its running statistics is a scale and a shift per channel, so convolving with
scaled weights gives the same result (https://arxiv.org/abs/2305.11624), without a pass over the
maps for it. In training its input is not kept, which is half of what a ResNet keeps.
"""

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.conv_module import efficient_conv_bn_eval_forward
from mmdet.models import ResNet
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.registry import MODELS
from torch import Tensor, nn

from ..kernels.recomputing import recompute


def convolve(conv: nn.Conv2d, norm: nn.modules.batchnorm._BatchNorm, x: Tensor) -> Tensor:
    """``norm(conv(x))``."""
    if norm.training:
        return norm(conv(x))
    return efficient_conv_bn_eval_forward(norm, conv, x)


class FoldedBottleneck(Bottleneck):
    """mmdet's block, without plugins and deformable convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H/s, W/s), with the block's channels and stride s."""
        if self.with_cp and x.requires_grad:
            return recompute(self._forward, x)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        update = convolve(self.conv1, self.norm1, x).relu_()
        update = convolve(self.conv2, self.norm2, update).relu_()
        update = convolve(self.conv3, self.norm3, update)
        kept = x
        if self.downsample is not None:
            conv, norm = self.downsample
            kept = convolve(conv, norm, x)
        return update.add_(kept).relu_()


@MODELS.register_module()
class OneFormerResNet(ResNet):
    """mmdet's ``ResNet``, with its tensors. Blocks are folded from depth 50 on, the stem always.

    Args:
        depth: 18, 34, 50, 101 or 152.
        channels_last: Whether maps have their channels last in memory. None decides by what
            computes: on a CPU, and on a GPU under half precision, whose tensor cores want it.
        **kwargs: Arguments of mmdet's ``ResNet``, except those that change blocks or stem.

    Raises:
        ValueError: If an argument is one of those.
    """

    arch_settings = {
        depth: (FoldedBottleneck if block is Bottleneck else block, stages)
        for depth, (block, stages) in ResNet.arch_settings.items()
    }

    def __init__(self, depth: int, channels_last: bool | None = None, **kwargs) -> None:
        refused = {'avg_down', 'conv_cfg', 'dcn', 'deep_stem', 'plugins'} & set(kwargs)
        if refused:
            raise ValueError(f"model.backbone: {sorted(refused)} need mmdet's type='ResNet'")
        super().__init__(depth, **kwargs)
        self.channels_last = channels_last

    def _is_channels_last(self, kind: str) -> bool:
        """See ``channels_last``, on a kind of device."""
        if self.channels_last is not None:
            return self.channels_last
        return kind == 'cpu' or (kind == 'cuda' and torch.is_autocast_enabled(kind))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps of the stages in ``out_indices`` of normalised images (B, 3, H, W)."""
        if self._is_channels_last(x.device.type):
            x = x.contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(convolve(self.conv1, self.norm1, x).relu_(), 3, 2, 1)
        maps = []
        for index, name in enumerate(self.res_layers):
            x = getattr(self, name)(x)
            if index in self.out_indices:
                maps.append(x)
        return tuple(maps)
