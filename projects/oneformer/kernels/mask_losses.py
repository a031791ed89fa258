"""Costs and losses of masks that are known at points, and where the points come from.

Shapes: Q queries, N targets, P points.
"""

from collections.abc import Hashable

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform_points(
    num_sets: int, num_points: int, device: torch.device, key: Hashable = None
) -> Tensor:
    """Draw uniform points, the one source of randomness of matching and losses.

    ``SetCriterion.sample_points`` holds this function. Replace it there to fix the points: the key
    says what they are for, so that a replacement can give an image the same points in any batch.

    Args:
        num_sets: Number of independent sets.
        num_points: Points per set.
        device: Device to put them on.
        key: ``(purpose, img_id)``; the purpose is 'match', 'unannotated', 'candidates' or
            'random'.

    Returns:
        (x, y) in [0, 1), of shape (num_sets, num_points, 2).
    """
    return torch.rand(num_sets, num_points, 2, device=device)


def mask_costs(
    logits: Tensor, targets: Tensor, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Pairwise costs of masks known at points.

    Args:
        logits: Mask logits of shape (..., Q, P).
        targets: Values in [0, 1], of shape (..., N, P).
        valid: 0 or 1 of shape (..., P); all points by default.

    Returns:
        Binary cross entropy (mean over points) and dice cost (smoothed by 1), both (..., Q, N).
    """
    softplus, probabilities, num_points = F.softplus(logits), logits.sigmoid(), logits.shape[-1]
    if valid is not None:
        softplus, probabilities = (
            softplus * valid[..., None, :],
            probabilities * valid[..., None, :],
        )
        targets = targets * valid[..., None, :]
        num_points = valid.sum(-1).clamp(min=1)[..., None, None]
    # BCE(x, t) = softplus(x) - x t, so that one product over the points is enough
    cross_entropy = softplus.sum(-1, keepdim=True) - logits @ targets.mT
    overlap = probabilities @ targets.mT
    total = probabilities.sum(-1)[..., :, None] + targets.sum(-1)[..., None, :]
    return cross_entropy / num_points, 1 - (2 * overlap + 1) / (total + 1)


def point_losses(
    logits: Tensor, targets: Tensor, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Losses of matched masks known at points.

    Args:
        logits: Mask logits of shape (..., P).
        targets: Values in [0, 1], of the same shape.
        valid: 0 or 1 of the same shape; all points by default.

    Returns:
        Binary cross entropy (mean over points) and dice loss (smoothed by 1), both of shape (...).
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction='none')
    probabilities = logits.sigmoid()
    if valid is None:
        cross_entropy = cross_entropy.mean(-1)
    else:
        cross_entropy = (cross_entropy * valid).sum(-1) / valid.sum(-1).clamp(min=1)
        probabilities, targets = probabilities * valid, targets * valid
    overlap = (probabilities * targets).sum(-1)
    total = probabilities.sum(-1) + targets.sum(-1)
    return cross_entropy, 1 - (2 * overlap + 1) / (total + 1)
