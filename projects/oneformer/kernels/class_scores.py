"""Class scores of a block of pixels, without the queries and classes that cannot matter in it.

The scores are ``class_weights.T @ probabilities`` of all queries, up to ``_NEGLIGIBLE``.

Shapes: Q queries and K classes of an image, n the queries that matter in a block, r x c the block,
s x t the part of the mask logits below it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .without_waits import chosen, may_look

if TYPE_CHECKING:
    from .mask_resize import Block

# Queries are left out of a block whose class scores they could change by this much in all.
_NEGLIGIBLE = 4e-6
# Classes whose scores are computed at every pixel of a block; the others are bounded first.
_CANDIDATES = 16

BlockScores = tuple[Tensor, Tensor]  # class weights (n, K) and mask probabilities (r, n, c)
ScoresOfBlock = Callable[['Block'], BlockScores]


def relevant_probabilities(class_weights: Tensor, source: Tensor, block: 'Block') -> BlockScores:
    """Mask probabilities of the queries that can matter in a block.

    Args:
        class_weights: Class probabilities of shape (Q, K).
        source: The logits below the block, of shape (Q, s, t).
        block: The block.
    """
    most = source.amax((1, 2)).sigmoid() * class_weights.amax(1)  # what each can add to a score
    most, order = most.sort()
    used = order[chosen(most.cumsum(0) > _NEGLIGIBLE)].sort().values
    return class_weights[used], block.resize(source[used]).sigmoid_()


def best_classes(class_weights: Tensor, probabilities: Tensor) -> Tensor:
    """The class of the highest score at each pixel of a block.

    Few classes occur in a block. Scores of the likely ones are compared with a bound on all others,
    the score of a class that had each query's highest weight among them, and pixels where this does
    not decide are scored in full.

    Args:
        class_weights: Tensor of shape (n, K).
        probabilities: Tensor of shape (r, n, c).

    Returns:
        Labels of shape (r, c).
    """
    n, K = class_weights.shape
    if K <= 2 * _CANDIDATES or not may_look(class_weights.device):
        return _best(class_weights, probabilities)
    most = probabilities.amax((0, 2)) @ class_weights
    likely = most.topk(_CANDIDATES).indices.sort().values
    bound = class_weights.index_fill(1, likely, 0).amax(1, keepdim=True)  # n 1
    columns = torch.cat([class_weights[:, likely], bound], 1)
    best = _best(columns, probabilities)
    rows, places = (best == _CANDIDATES).nonzero(as_tuple=True)
    if 4 * len(rows) > best.numel():
        return _best(class_weights, probabilities)
    labels = likely[best.clamp(max=_CANDIDATES - 1)]
    labels[rows, places] = (probabilities[rows, :, places] @ class_weights).argmax(1)
    return labels


def _best(class_weights: Tensor, probabilities: Tensor) -> Tensor:
    return (class_weights.T.contiguous() @ probabilities).max(1).indices
