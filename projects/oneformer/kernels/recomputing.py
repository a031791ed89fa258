"""What the backward pass computes again, since it costs less than to keep it."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .portable import is_portable


@functools.cache
def _settle_warnings() -> None:
    # torch 2.4 warns of its own code in the backward pass, where nothing can be wrapped around it
    warnings.filterwarnings(
        'ignore',
        message=r'`torch\.cpu\.amp\.autocast',
        category=FutureWarning,
        module=r'torch\.utils\.checkpoint',
    )


def recompute(function: Callable[..., Tensor], *args: Any, is_random: bool = True) -> Tensor:
    """Apply a function whose activations the backward pass computes again.

    Args:
        function: What is applied; it must not change its arguments.
        *args: Its arguments, of which only tensors get gradients.
        is_random: Whether it draws random numbers; the second pass draws the same.

    Returns:
        What ``function`` returns.
    """
    _settle_warnings()
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=is_random)


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
    return recompute(update, x, is_random=is_random)
