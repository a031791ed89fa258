"""Tensors between the host and a GPU, with as few waits as possible.

The host runs ahead of a GPU until it needs a value. It then waits for all that was queued, and the
GPU idles until it is given more. So what is needed at one place is fetched at once, and what is
sent is pinned, since a copy of other memory waits, too.
"""

from collections.abc import Sequence

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """``tensor.to(device)``; a GPU gets it when it comes to it, and the host does not wait.

    Args:
        tensor: A tensor that is not changed afterwards.
        device: Device to put it on.
    """
    device = torch.device(device)
    if device.type != 'cuda' or tensor.device.type != 'cpu':
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)


def send_all(tensors: Sequence[Tensor], device: torch.device | str) -> list[Tensor]:
    """Tensors of one type on a device, by one copy.

    Args:
        tensors: Tensors of the CPU.
        device: Device to put them on.

    Returns:
        The tensors in their shapes, parts of the same memory.
    """
    if not tensors:
        return []
    packed = send(torch.cat([tensor.flatten() for tensor in tensors]), device)
    parts = packed.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors)]


def fetch(*tensors: Tensor) -> list[Tensor]:
    """The tensors on the host, after one wait for all of them."""
    found = list(tensors)
    on_gpu = [i for i, tensor in enumerate(tensors) if tensor.is_cuda]
    on_gpu.sort(key=lambda i: tensors[i].numel())
    for i in on_gpu:
        # copies follow each other, so the last one alone is waited for; an empty one is none
        found[i] = tensors[i].to('cpu', non_blocking=i != on_gpu[-1])
    return [tensor.cpu() for tensor in found]  # of devices other than GPUs


def fetch_sample(sample: BaseDataElement) -> BaseDataElement:
    """A data sample with its tensors on the host, as ``sample.cpu()``, after one wait."""
    places, tensors = [], []

    def collect(element: BaseDataElement) -> None:
        for name, value in element.items():
            if isinstance(value, BaseDataElement):
                collect(value)
            elif isinstance(value, Tensor):
                places.append((element, name))
                tensors.append(value.detach())

    copy = sample.clone()
    collect(copy)
    for (element, name), tensor in zip(places, fetch(*tensors)):
        element.set_data({name: tensor})
    return copy


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
