"""Patches of stride 16 to mask features of stride 4, as EoMT does it, on rows of channels.

Shapes: n images and tasks, h x w the grid, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ScaleLayer(nn.Module):
    """Twice the height and width: transposed convolution, GELU, depthwise convolution, norm.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, h, w, C) to (n, 2 h, 2 w, C).

        A transposed convolution whose stride is its size is a linear layer with four times the
        channels, which are the four new pixels.
        """
        fine = self.conv2(self._doubled(x).permute(0, 3, 1, 2))  # channels last in memory
        return self.norm(fine.permute(0, 2, 3, 1))

    def _doubled(self, x: Tensor) -> Tensor:
        """The transposed convolution and GELU."""
        n, h, w, C = x.shape
        weight = self.conv1.weight.permute(2, 3, 1, 0).reshape(4 * C, C)
        pixels = F.linear(x, weight, self.conv1.bias.repeat(4))
        pixels = F.gelu(pixels) if torch.is_grad_enabled() else torch.ops.aten.gelu_(pixels)
        return pixels.view(n, h, w, 2, 2, C).transpose(2, 3).reshape(n, 2 * h, 2 * w, C)
