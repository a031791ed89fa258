"""Attention to positional encodings on a CPU: a value is the sum of its row's and its column's.

So a query needs the sums of its weights over rows and columns, not a product with all values, and
in the backward pass the gradient of a weight is a sum of two numbers. Weights are never kept: one
head is computed at a time, and again in the backward pass, with the same dropout. Without a
gradient it is some queries of a head, whose weights stay in the cache.

Shapes: B images, M heads, Q queries, h x w the memory's grid, C channels of a head.
"""

from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .dropout import keep_, keep_mask, nearest_probability
from .portable import is_portable

WEIGHTS = 2**19  # at a time without a gradient, 2 MiB in float32
LEAST_ROWS = 16  # products of fewer rows are slow
_ALL = slice(None)


class _Head:
    """Softmax weights of ``rows`` queries of a head at a time, in memory that is used again."""

    def __init__(self, query: Tensor, key: Tensor, dropout: float, rows: int) -> None:
        self.query, self.key, self.dropout = query, key, dropout
        self.scores = query.new_empty(rows, key.shape[2])
        self.weights = torch.empty_like(self.scores)

    def compute(
        self, b: int, m: int, seed: int, part: slice = _ALL
    ) -> tuple[Tensor, Tensor | None]:
        """Weights (q, h * w) of queries of head m in image b, and the mask of dropout."""
        query = self.query[b, m, part]
        scores, weights = self.scores[: len(query)], self.weights[: len(query)]
        torch.mm(query, self.key[b, m].mT, out=scores)
        torch.softmax(scores, -1, out=weights)
        if not self.dropout:
            return weights, None
        generator = torch.Generator().manual_seed(seed)
        return weights, keep_mask(weights.shape, self.dropout, generator)


class _PositionAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, rows, columns, dropout):
        B, M, Q, C = query.shape
        h, w = rows.shape[1], columns.shape[1]
        rows_at_once = Q
        if not dropout and not any(ctx.needs_input_grad):
            rows_at_once = min(max(WEIGHTS // key.shape[2], LEAST_ROWS), Q)
        head = _Head(query * C**-0.5, key, dropout, rows_at_once)
        parts = [slice(i, i + rows_at_once) for i in range(0, Q, rows_at_once)]
        keep = 1 / (1 - dropout)
        seeds = torch.randint(2**62, (B, M)).tolist() if dropout else [[0] * M] * B
        row_sums, column_sums = query.new_empty(B, M, Q, h), query.new_empty(B, M, Q, w)
        for b, m, part in product(range(B), range(M), parts):
            weights, kept = head.compute(b, m, seeds[b][m], part)
            if kept is not None:
                keep_(weights, kept)
            weights = weights.view(-1, h, w)
            torch.sum(weights, 2, out=row_sums[b, m, part])
            torch.sum(weights, 1, out=column_sums[b, m, part])
        row_sums, column_sums = row_sums.mul_(keep), column_sums.mul_(keep)
        output = row_sums @ rows + column_sums @ columns
        ctx.save_for_backward(query, key, rows, columns, row_sums, column_sums, output)
        ctx.dropout, ctx.seeds = dropout, seeds
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        query, key, rows, columns, row_sums, column_sums, output = ctx.saved_tensors
        B, M, Q, C = query.shape
        scale, keep = C**-0.5, 1 / (1 - ctx.dropout)
        head = _Head(query * scale, key, ctx.dropout, Q)
        per_weight = torch.empty_like(head.scores)
        of_rows = gradient @ rows.mT * keep  # B M Q h, gradient of a weight by its row
        of_columns = gradient @ columns.mT * keep  # B M Q w
        mean = (gradient * output).sum(-1)[..., None]  # B M Q 1
        query_gradient, key_gradient = torch.empty_like(query), torch.empty_like(key)
        for b in range(B):
            for m in range(M):
                weights, kept = head.compute(b, m, ctx.seeds[b][m])
                torch.add(
                    of_rows[b, m][..., None],
                    of_columns[b, m][..., None, :],
                    out=per_weight.view(Q, rows.shape[1], -1),
                )
                if kept is not None:
                    keep_(per_weight, kept)
                per_score = per_weight.sub_(mean[b, m]).mul_(weights)
                torch.mm(per_score, key[b, m], out=query_gradient[b, m])
                key_gradient[b, m] = per_score.mT @ head.query[b, m]
        return (
            query_gradient.mul_(scale),
            key_gradient,
            (row_sums.mT @ gradient).sum(0),
            (column_sums.mT @ gradient).sum(0),
            None,
        )


class PositionMemory(NamedTuple):
    """Keys, and values that are projected positional encodings.

    Attributes:
        key: Keys of shape (B, M, h * w, C).
        rows: The part of a value that its row decides, of shape (M, h, C).
        columns: The part that its column decides, of shape (M, w, C).
    """

    key: Tensor
    rows: Tensor
    columns: Tensor


def attend_positions(query: Tensor, memory: PositionMemory, dropout: float = 0.0) -> Tensor:
    """``scaled_dot_product_attention`` to values ``rows[:, y] + columns[:, x]`` at pixel (y, x).

    Args:
        query: Queries of shape (B, M, Q, C).
        memory: Keys and values of the same M and C.
        dropout: Probability of dropping a weight; on a CPU rounded to a multiple of 2 ** -16.

    Returns:
        Attended values of shape (B, M, Q, C).
    """
    if query.device.type == 'cpu' and not is_portable():
        return _PositionAttention.apply(query, *memory, nearest_probability(dropout))
    value = (memory.rows[:, :, None] + memory.columns[:, None]).flatten(1, 2)  # M hw C
    if is_portable():  # runtimes may keep all weights of an attention: one head at a time
        parts = query.split(1, 1), memory.key.split(1, 1), value.split(1)
        attended = [
            F.scaled_dot_product_attention(own_query, own_key, own_value.expand_as(own_key))
            for own_query, own_key, own_value in zip(*parts)
        ]
        return torch.cat(attended, 1)
    return F.scaled_dot_product_attention(
        query, memory.key, value.expand_as(memory.key), dropout_p=dropout
    )
