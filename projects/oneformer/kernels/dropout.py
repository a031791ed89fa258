"""Dropout that is cheap on a CPU: 16 random bits for a number, and no mask kept if none is needed.

torch draws a float for each number there. Elsewhere than on a CPU torch's own, fused dropout runs.
The probability is a multiple of 2 ** -16.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 2**16
_PIECE = 2**18


def keep_mask(shape: torch.Size, p: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw a mask of what is kept, on a CPU.

    Args:
        shape: Shape of the mask.
        p: Probability of 0, a multiple of 1 / ``LEVELS``.
        generator: Random generator; the default is torch's.

    Returns:
        Mask of 0 or 1, uint8, which is faster in torch's comparisons and products than bool.
    """
    count = shape.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64)
    bits.random_(-(2**63), None, generator=generator)
    mask = torch.empty(count, dtype=torch.uint8)
    torch.ge(bits.view(torch.int16)[:count], round(p * LEVELS) - LEVELS // 2, out=mask)
    return mask.view(shape)


def keep_(x: Tensor, mask: Tensor) -> Tensor:
    """Multiply by a mask in place, some at a time, since it needs the mask in the type of ``x``."""
    if not x.is_contiguous():
        return x.mul_(mask)
    for part, kept in zip(x.view(-1).split(_PIECE), mask.view(-1).split(_PIECE)):
        part.mul_(kept.to(x.dtype))
    return x


def nearest_probability(p: float) -> float:
    """The nearest probability that ``keep_mask`` can have."""
    return round(p * LEVELS) / LEVELS


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, p):
        mask = keep_mask(x.shape, p)
        ctx.save_for_backward(mask)
        ctx.scale = 1 / (1 - p)
        return keep_(x * ctx.scale, mask)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (mask,) = ctx.saved_tensors
        return keep_(gradient * ctx.scale, mask), None


class _ReluDropout(torch.autograd.Function):
    """Keeps only the result for the backward pass: its positive entries are those that passed."""

    @staticmethod
    def forward(ctx, x, p):
        ctx.scale = 1 / (1 - p)
        passed = keep_(x.relu(), keep_mask(x.shape, p)).mul_(ctx.scale)
        ctx.save_for_backward(passed)
        return passed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (passed,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, passed, 0).mul_(ctx.scale), None


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Same as ``F.dropout``."""
    p = nearest_probability(p)
    if not training or p == 0 or x.device.type != 'cpu':
        return F.dropout(x, p, training)
    return _Dropout.apply(x, p)


def relu_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Same as ``F.dropout(F.relu(x))``; only the result is kept for the backward pass."""
    p = nearest_probability(p)
    if not training or p == 0 or x.device.type != 'cpu':
        return F.dropout(F.relu(x), p, training)
    return _ReluDropout.apply(x, p)
