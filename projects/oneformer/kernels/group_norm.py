"""Group normalisation that is exact on maps with channels last in memory.

torch's own on a CPU adds up values and their squares one by one there, in float32, and takes the
variance from the difference, which leaves no digit of a map that is nearly constant (torch 2.10).
In planes, and elsewhere than on a CPU, it does not.
"""

import torch
from torch import Tensor, nn

from .portable import is_portable

_PIECE = 2**17  # numbers whose squares stay in the cache


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm``, without gradients as exact with channels last as in planes."""

    @classmethod
    def like(cls, norm: nn.GroupNorm) -> 'GroupNorm':
        """One with the parameters of a norm, which are shared."""
        exact = cls(norm.num_groups, norm.num_channels, norm.eps, norm.affine)
        exact.weight, exact.bias = norm.weight, norm.bias
        return exact.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise maps of shape (B, C, h, w); on a CPU those in half precision in float32."""
        if x.device.type == 'cpu' and x.dtype in (torch.bfloat16, torch.float16):
            x = x.float()
        if not _is_inexact(x) or not self.affine:
            return super().forward(x)
        return _normalise(x, self)


def make_exact(module: nn.Module) -> None:
    """Put a ``GroupNorm`` in the place of each ``nn.GroupNorm`` of a module."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.GroupNorm:
                setattr(parent, name, GroupNorm.like(child))


def _is_inexact(x: Tensor) -> bool:
    """Whether torch's own may be inexact; in planes it is for groups of a few values alone."""
    return (
        x.device.type == 'cpu'
        and not torch.is_grad_enabled()
        and x.dtype == torch.float32
        and x.dim() == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and not is_portable()
        and not torch.compiler.is_compiling()  # which adds up in another way
    )


def _moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square deviation of each channel: rows (B, N, C) to (B, C) twice."""
    means = rows.mean(1)
    size = max(_PIECE // rows.shape[2], 1)
    squares = [
        torch.stack([(part - mean).square_().sum(0) for part in of_image.split(size)]).sum(0)
        for of_image, mean in zip(rows, means)
    ]
    return means, torch.stack(squares) / rows.shape[1]


def _normalise(x: Tensor, norm: nn.GroupNorm) -> Tensor:
    """The norm of maps (B, C, h, w) with channels last, which are left so."""
    B, C, H, W = x.shape
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)
    means, squares = (moment.view(B, norm.num_groups, -1) for moment in _moments(rows))
    between, mean = torch.var_mean(means, -1, correction=0)  # B groups
    rstd = (squares.mean(-1) + between + norm.eps).rsqrt()
    scale = rstd[..., None] * norm.weight.view(norm.num_groups, -1)
    bias = norm.bias.view(norm.num_groups, -1)
    shift = torch.addcmul(bias, mean[..., None], scale, value=-1)
    normed = torch.addcmul(shift.view(B, 1, C), rows, scale.view(B, 1, C))
    return normed.unflatten(1, (H, W)).permute(0, 3, 1, 2)
