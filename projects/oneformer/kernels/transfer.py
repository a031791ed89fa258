"""Copies between host and device that the host does not wait for.

On a GPU a copy of ordinary memory ends when all that was queued before it has ended, and the host
stands still until then. A copy of pinned memory is queued like any other work.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """``tensor.to(device)``; from a CPU to a GPU by pinned memory, so that nobody waits.

    Args:
        tensor: A tensor that is not changed afterwards.
        device: Where to put it.
    """
    device = torch.device(device)
    if device.type != 'cuda' or tensor.device.type != 'cpu':
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)


def all_to_device(tensors: Sequence[Tensor], device: torch.device | str) -> list[Tensor]:
    """Tensors of one type on a device, by one copy.

    Args:
        tensors: Tensors of the CPU.
        device: Where to put them.

    Returns:
        The tensors in their shapes, parts of the same memory.
    """
    if not tensors:
        return []
    packed = to_device(torch.cat([tensor.flatten() for tensor in tensors]), device)
    parts = packed.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors)]


class ToHost:
    """A copy to the host that is under way, while more work is queued for the device.

    Args:
        tensor: A tensor that is not changed before ``wait`` returns.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._ready: torch.cuda.Event | None = None
        if tensor.device.type != 'cuda':
            self._host = tensor.cpu()
            return
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._ready = torch.cuda.Event()
        self._ready.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> Tensor:
        """The tensor on the CPU, once its copy has ended; what was queued since goes on."""
        if self._ready is not None:
            self._ready.synchronize()
        return self._host
