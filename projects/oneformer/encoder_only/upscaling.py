"""Patches of stride 16 to mask features of stride 4, as EoMT does it, on rows of channels.

Shapes: n images and tasks, h x w the grid, C channels.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BAND = 2**22  # values of the features of a band, 16 MiB in float32: what a CPU's caches hold


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


class Upscaling(nn.Sequential):
    """Scale layers one after another.

    Args:
        channels: C.
        num_layers: Number of times that the patches are doubled.
    """

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__(*(ScaleLayer(channels) for _ in range(num_layers)))

    def bands(self, x: Tensor) -> Iterator[Tensor]:
        """The result in bands of rows, from top to bottom, each when it is asked for.

        What the last layer holds is many times what it is given, so it gets a band of rows at a
        time, and the row above and below that its convolution looks at.

        Args:
            x: Shape (n, h, w, C).

        Yields:
            Shape (n, rows, w', C).
        """
        if not len(self):
            yield x
            return
        *first, last = self
        for layer in first:
            x = layer(x)
        h = x.shape[1]
        rows = max(BAND // (4 * x[:, 0].numel()), 1)
        for start in range(0, h, rows):
            stop = min(start + rows, h)
            top, bottom = max(start - 1, 0), min(stop + 1, h)
            yield last(x[:, top:bottom])[:, 2 * (start - top) : 2 * (stop - top)]
