"""Attention with a learned bias, whose weights the backward pass computes again.

torch's fused attention gives no gradient to a bias on a CPU, and the explicit product keeps the
weights of all windows. Here some windows are computed at a time, as many as a cache holds, and
again in the backward pass. The function is that of ``scaled_dot_product_attention``.

Shapes: n windows, M heads, N tokens, D channels of a head.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

WEIGHTS = 2**18  # at a time, 1 MiB in float32


class _BiasedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, bias, scale):
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        for part in _parts(query):
            torch.matmul(
                _weights(query[part] * scale, key[part], bias), value[part], out=output[part]
            )
        ctx.save_for_backward(query, key, value, bias, output)
        ctx.scale = scale
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        query, key, value, bias, output = ctx.saved_tensors
        of_query, of_key, of_value = (torch.empty_like(output) for _ in range(3))
        of_bias = torch.zeros_like(bias)
        mean = (gradient * output).sum(-1, keepdim=True)
        for part in _parts(query):
            scaled = query[part] * ctx.scale
            weights = _weights(scaled, key[part], bias)
            of_value[part] = weights.mT @ gradient[part]
            of_scores = (gradient[part] @ value[part].mT).sub_(mean[part]).mul_(weights)
            of_bias += of_scores.sum(0)
            of_query[part] = (of_scores @ key[part]).mul_(ctx.scale)
            of_key[part] = of_scores.mT @ scaled
        return of_query, of_key, of_value, of_bias, None


def _parts(query: Tensor) -> Iterator[slice]:
    """Windows that are computed at a time."""
    n, M, N, _ = query.shape
    step = max(WEIGHTS // (M * N * N), 1)
    return (slice(start, start + step) for start in range(0, n, step))


def _weights(scaled: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """Softmax weights (n, M, N, N)."""
    return (scaled @ key.mT).add_(bias).softmax(-1)


def attend_with_bias(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float
) -> Tensor:
    """Attention within windows, for gradients on a CPU.

    Args:
        query: Shape (n, M, N, D).
        key: The same shape.
        value: The same shape.
        bias: What is added to scores, of shape (M, N, N).
        scale: What scores are multiplied with before.

    Returns:
        Tensor of shape (n, M, N, D).
    """
    return _BiasedAttention.apply(query, key, value, bias, scale)
