"""What is computed in one way on a CPU and in another on a GPU, so that the host need not wait.

On a CPU it pays to look at the values and to leave out what cannot matter. To look at a value of a
GPU is to wait for all that was queued; there everything is computed, and nothing is looked at.
"""

import torch
from torch import Tensor


def may_look(device: torch.device | str) -> bool:
    """Whether values of a device can be looked at without a wait."""
    return torch.device(device).type == 'cpu'


def chosen(matters: Tensor) -> Tensor:
    """Indices to compute: on a CPU those that matter, elsewhere all.

    Args:
        matters: Bool of shape (Q,).
    """
    if may_look(matters.device):
        return matters.nonzero()[:, 0]
    return torch.arange(len(matters), device=matters.device)


def count_values(values: Tensor, number: int) -> Tensor:
    """How often 0, 1, ... occur, int64 of shape (number,).

    Args:
        values: Integers in [0, number).
        number: Number of counts, which ``values``' type can hold.
    """
    values = values.flatten()
    if may_look(values.device):
        return values.bincount(minlength=number)
    edges = torch.arange(number + 1, dtype=values.dtype, device=values.device)
    return torch.searchsorted(values.sort().values, edges).diff()
