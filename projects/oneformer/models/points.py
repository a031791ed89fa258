"""Where masks are sampled: the one source of random points for matching and for the losses."""

from collections.abc import Hashable

import torch
from torch import Tensor


def uniform_points(
    num_sets: int, num_points: int, device: torch.device, key: Hashable = None
) -> Tensor:
    """Draw uniform points.

    ``SetCriterion.sample_points`` holds this function. Replace it there to fix the points: the key
    says what they are for, so that a replacement can give an image the same points in any batch.

    Args:
        num_sets: Number of independent sets.
        num_points: Points per set.
        device: Where to put them.
        key: ``(purpose, img_id)``; the purpose is 'match', 'unannotated', 'candidates' or
            'random'.

    Returns:
        (x, y) in [0, 1), of shape (num_sets, num_points, 2).
    """
    return torch.rand(num_sets, num_points, 2, device=device)
