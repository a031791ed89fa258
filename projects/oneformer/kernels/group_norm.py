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
    """``nn.GroupNorm``, as exact with channels last as in planes; the gradient is torch's own."""

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
        return _GroupNorm.apply(x, self.num_groups, self.weight, self.bias, self.eps)


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


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, groups, weight, bias, eps):
        B, C, H, W = x.shape
        rows = x.permute(0, 2, 3, 1).flatten(1, 2)
        means, squares = (moment.view(B, groups, -1) for moment in _moments(rows))
        between, mean = torch.var_mean(means, -1, correction=0)  # B groups
        rstd = (squares.mean(-1) + between + eps).rsqrt()
        scale = rstd[..., None] * weight.view(groups, -1)
        shift = torch.addcmul(bias.view(groups, -1), mean[..., None], scale, value=-1)
        ctx.save_for_backward(x, mean, rstd, weight)
        normed = torch.empty_like(x, memory_format=torch.channels_last)
        # not a view, which may not be changed in place afterwards
        out = normed.permute(0, 2, 3, 1).view(B, H * W, C)
        torch.addcmul(shift.view(B, 1, C), rows, scale.view(B, 1, C), out=out)
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        x, mean, rstd, weight = ctx.saved_tensors
        B, C, H, W = x.shape
        gradients = torch.ops.aten.native_group_norm_backward(
            gradient.contiguous(memory_format=torch.channels_last),
            *(x, mean, rstd, weight, B, C, H * W, mean.shape[1]),
            [ctx.needs_input_grad[i] for i in (0, 2, 3)],
        )
        return gradients[0], None, *gradients[1:], None
