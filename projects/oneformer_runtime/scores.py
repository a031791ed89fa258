"""Class probabilities, and the class of the highest score at each pixel.

Shapes: Q queries, K classes, n the queries that matter in a block, r x c the block, s x t the part
of the mask logits below it.
"""

import numpy as np

from .mask_resize import Block

# Queries are left out of a block whose class scores they could change by this much in all.
_NEGLIGIBLE = 4e-6
# Classes whose scores are computed at every pixel of a block; the others are bounded first.
_CANDIDATES = 16


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    values = np.exp(logits - logits.max(-1, keepdims=True))
    return values / values.sum(-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logistic function, in new memory."""
    with np.errstate(over='ignore'):  # of the exponential, whose infinity becomes 0
        values = np.exp(-logits)
    values += 1
    return np.reciprocal(values, out=values)


def relevant_probabilities(
    class_weights: np.ndarray, source: np.ndarray, block: Block
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities (n, K) and mask probabilities (r, n, c) of the queries that matter.

    Args:
        class_weights: Class probabilities of shape (Q, K).
        source: The logits below the block, of shape (Q, s, t).
        block: The block.
    """
    most = sigmoid(source.max((1, 2))) * class_weights.max(1)  # what each can add to a score
    order = most.argsort(kind='stable')
    used = np.sort(order[most[order].cumsum() > _NEGLIGIBLE])
    return class_weights[used], sigmoid(block.resize(source[used]))


def best_classes(class_weights: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The class of the highest score at each pixel of a block, the first of equal ones.

    Few classes occur in a block. Scores of the likely ones are compared with a bound on all others,
    the score of a class that had each query's highest weight among them, and pixels where this does
    not decide are scored in full.

    Args:
        class_weights: Class probabilities of shape (n, K).
        probabilities: Mask probabilities of shape (r, n, c).

    Returns:
        Labels of shape (r, c).
    """
    n, K = class_weights.shape
    if K <= 2 * _CANDIDATES or not n:
        return _best(class_weights, probabilities)
    most = probabilities.max((0, 2)) @ class_weights
    likely = np.sort(np.argpartition(-most, _CANDIDATES)[:_CANDIDATES])
    others = class_weights.copy()
    others[:, likely] = 0
    columns = np.concatenate([class_weights[:, likely], others.max(1, keepdims=True)], 1)
    best = _best(columns, probabilities)
    rows, places = (best == _CANDIDATES).nonzero()
    if 4 * len(rows) > best.size:
        return _best(class_weights, probabilities)
    labels = likely[best.clip(max=_CANDIDATES - 1)]
    labels[rows, places] = (probabilities[rows, :, places] @ class_weights).argmax(1)
    return labels


def _best(class_weights: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(class_weights.T) @ probabilities).argmax(1)


def semantic_labels(class_logits: np.ndarray, mask_logits: np.ndarray) -> np.ndarray:
    """Semantic labels at the size of the mask logits, to compare networks.

    Args:
        class_logits: Array of shape (B, T, Q, K + 1).
        mask_logits: Array of shape (B, T, Q, h, w).

    Returns:
        Labels of shape (B, T, h, w).
    """
    weights = np.moveaxis(softmax(class_logits)[..., :-1], -1, -2)  # B T K Q
    masks = sigmoid(mask_logits)
    scores = weights @ masks.reshape(*masks.shape[:3], -1)
    return scores.argmax(2).reshape(*masks.shape[:2], *masks.shape[3:])
