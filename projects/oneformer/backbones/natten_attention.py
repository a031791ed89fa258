"""Neighbourhood attention by the operators of NATTEN, where a version with biases is installed.

DiNAT's weights have relative position biases. NATTEN had them up to 0.17; 0.21 has one fused
operator without them, so that its kernels cannot run published weights.

Shapes: as in ``neighborhood_attention``.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Operators(NamedTuple):
    """NATTEN's two operators, heads before pixels.

    Attributes:
        scores: Function of queries and keys (B, M, H, W, D), kernel size, dilation and biases
            (M, 2 K - 1, 2 K - 1): scores (B, M, H, W, K * K).
        sums: Function of weights (B, M, H, W, K * K), values (B, M, H, W, D), kernel size and
            dilation: weighted sums (B, M, H, W, D).
    """

    scores: Callable[[Tensor, Tensor, int, int, Tensor], Tensor]
    sums: Callable[[Tensor, Tensor, int, int], Tensor]


@cache
def natten_operators() -> Operators:
    """The operators that are installed.

    Raises:
        ModuleNotFoundError: If NATTEN is not installed.
        ValueError: If it is a version without biases.
    """
    try:
        functional = import_module('natten.functional')
    except ImportError as error:
        raise ModuleNotFoundError(
            f'model.backbone.natten: NATTEN cannot be imported ({error}). Leave the option out, or '
            'install a version with relative position biases, up to 0.17'
        ) from error
    if hasattr(functional, 'na2d_qk'):  # 0.17
        qk, av = functional.na2d_qk, functional.na2d_av
        return Operators(lambda q, k, size, step, rpb: qk(q, k, size, step, rpb=rpb), av)
    if hasattr(functional, 'natten2dqkrpb'):  # 0.14 and 0.15
        qk, av = functional.natten2dqkrpb, functional.natten2dav
        return Operators(lambda q, k, size, step, rpb: qk(q, k, rpb, size, step), av)
    raise ValueError(
        f'model.backbone.natten: NATTEN {version("natten")} has no relative position biases, which '
        "DiNAT's weights have. Leave the option out, or install a version up to 0.17"
    )


def natten_attention(
    query: Tensor, key_value: Tensor, relative_bias: Tensor, dilation: int
) -> Tensor:
    """``neighborhood_attention`` by NATTEN; see there for the arguments."""
    operators = natten_operators()
    height, width, channels = query.shape[1:]
    num_heads, kernel_size = len(relative_bias), (relative_bias.shape[1] + 1) // 2
    rows, columns = key_value.shape[1] - height, key_value.shape[2] - width
    query = F.pad(query, (0, 0, 0, columns, 0, rows))

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (num_heads, -1)).movedim(3, 1).contiguous()  # B M H W D

    key, value = (heads(x) for x in key_value.chunk(2, -1))
    query = heads(query) * (channels // num_heads) ** -0.5
    scores = operators.scores(query, key, kernel_size, dilation, relative_bias.to(query.dtype))
    weights = scores.softmax(-1).to(value.dtype)
    attended = operators.sums(weights, value, kernel_size, dilation)
    return attended.movedim(1, 3).flatten(3)[:, :height, :width]
