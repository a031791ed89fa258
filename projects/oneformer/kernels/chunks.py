"""Networks that treat every token alone process some tokens at a time on a CPU.

Without gradients a chunk is small enough for the inner features to stay in the cache; in training
it is small enough for the allocator to keep its memory (glibc returns blocks of 32 MiB at once, and
the system clears them page by page).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .portable import is_portable

ROWS, TRAINING_ROWS = 1024, 4096


def by_chunks(update: Callable[[Tensor], Tensor], x: Tensor, training: bool) -> Tensor:
    """Update tokens, some at a time on a CPU and all at once elsewhere.

    Args:
        update: Function from (n, C) to (n, D), each row by itself.
        x: Tokens of shape (..., C).
        training: Whether the module is in training.

    Returns:
        Updated tokens of shape (..., D).
    """
    rows = TRAINING_ROWS if training else ROWS
    if is_portable() or x.device.type != 'cpu' or x[..., 0].numel() <= rows:
        return update(x)
    parts = torch.cat([update(part) for part in x.flatten(0, -2).split(rows)])
    return parts.view(*x.shape[:-1], -1)
