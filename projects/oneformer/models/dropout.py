"""Dropout that is cheap on a CPU: 16 random bits for a number, and no mask kept if none is needed.

torch draws a float for each number there, which takes a tenth of a training step. Elsewhere than on
a CPU torch's own, fused dropout runs. The probability is a multiple of 2 ** -16.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 2**16


def drop_mask(shape: torch.Size, p: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw what is dropped, on a CPU.

    Args:
        shape: Of the mask.
        p: Probability of True, a multiple of 1 / ``LEVELS``.
        generator: The default is torch's.

    Returns:
        Bool of this shape.
    """
    count = shape.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64)
    bits.random_(-(2**63), None, generator=generator)
    return (bits.view(torch.int16)[:count] < round(p * LEVELS) - LEVELS // 2).view(shape)


def nearest_probability(p: float) -> float:
    """The probability that ``drop_mask`` can have."""
    return round(p * LEVELS) / LEVELS


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, p):
        mask = drop_mask(x.shape, p)
        ctx.save_for_backward(mask)
        ctx.scale = 1 / (1 - p)
        return (x * ctx.scale).masked_fill_(mask, 0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (mask,) = ctx.saved_tensors
        return (gradient * ctx.scale).masked_fill_(mask, 0), None


class _ReluDropout(torch.autograd.Function):
    """What passed is what is positive, so the result tells the gradient its way."""

    @staticmethod
    def forward(ctx, x, p):
        ctx.scale = 1 / (1 - p)
        passed = x.relu().masked_fill_(drop_mask(x.shape, p), 0).mul_(ctx.scale)
        ctx.save_for_backward(passed)
        return passed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (passed,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, passed, 0).mul_(ctx.scale), None


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """``F.dropout``."""
    p = nearest_probability(p)
    if not training or p == 0 or x.device.type != 'cpu':
        return F.dropout(x, p, training)
    return _Dropout.apply(x, p)


def relu_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """``F.dropout(F.relu(x))``, of which only the result is kept for the backward pass."""
    p = nearest_probability(p)
    if not training or p == 0 or x.device.type != 'cpu':
        return F.dropout(F.relu(x), p, training)
    return _ReluDropout.apply(x, p)
