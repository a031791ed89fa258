"""ViTDet's simple feature pyramid: four maps from the last one of a plain vision transformer."""

from collections.abc import Sequence

from torch import Tensor, nn

STRIDES = (4, 8, 16, 32)


def _resized(channels: int, stride: int, target: int) -> tuple[list[nn.Module], int]:
    """Layers from a stride to another one, and the channels after them."""
    from timm.layers import LayerNorm2d

    layers: list[nn.Module] = []
    while stride > target:
        if layers:
            layers += [LayerNorm2d(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        channels, stride = channels // 2, stride // 2
    if stride < target:
        step = target // stride
        layers.append(nn.MaxPool2d(step, step, ceil_mode=True))
    return layers, channels


class FeaturePyramid(nn.Module):
    """Maps of stride 4, 8, 16 and 32 from one map, see https://arxiv.org/abs/2203.16527.

    Each is made from the same map: transposed convolutions double its size and halve its channels,
    max pooling makes it smaller, and a 1x1 and a 3x3 convolution follow, each with a norm.

    Args:
        channels: Channels C of the map, divisible by 4.
        stride: Its stride in pixels: 4, 8, 16 or 32.
        out_channels: Channels of all four maps. None leaves the last two convolutions out; then a
            map has C, halved with each doubling of its size.

    Raises:
        ValueError: If the stride is another one.
    """

    def __init__(self, channels: int, stride: int, out_channels: int | None = 256) -> None:
        super().__init__()
        if stride not in STRIDES:
            raise ValueError(
                f'a feature pyramid has strides {STRIDES}, which cannot be made from stride '
                f'{stride}: set model.backbone.patch_size=16, to which weights are resampled'
            )
        from timm.layers import LayerNorm2d

        self.levels = nn.ModuleList()
        self.out_channels = []
        for target in STRIDES:
            layers, width = _resized(channels, stride, target)
            if out_channels is not None:
                layers += [
                    nn.Conv2d(width, out_channels, 1, bias=False),
                    LayerNorm2d(out_channels),
                    nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                    LayerNorm2d(out_channels),
                ]
                width = out_channels
            self.levels.append(nn.Sequential(*layers))
            self.out_channels.append(width)

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        """Map (B, C, h, w) to four maps, the finest first; halves are rounded up."""
        return tuple(level(x) for level in self.levels)
