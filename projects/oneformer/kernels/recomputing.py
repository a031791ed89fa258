"""What the backward pass computes again, since it costs less than to keep it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .portable import is_portable


def recompute_input(
    update: Callable[[Tensor], Tensor], x: Tensor, is_random: bool = False
) -> Tensor:
    """Apply something cheap and then a linear layer, of which the cheap part is computed again.

    So the input of the linear layer is not kept, such as the activation of a network's widest
    tensor, which the activation keeps, too. The layer itself is not computed twice: the second
    computation ends with the last tensor that is needed.

    Args:
        update: The cheap function and the linear layer; it must not change ``x``.
        x: Its argument, a tensor.
        is_random: Whether it drops something.

    Returns:
        What ``update`` returns.
    """
    if is_portable() or not torch.is_grad_enabled():
        return update(x)
    return checkpoint(update, x, use_reentrant=False, preserve_rng_state=is_random)
