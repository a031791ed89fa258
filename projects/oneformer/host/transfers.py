"""Tensors between the host and a GPU, with as few waits as possible.

The host runs ahead of a GPU until it needs a value. It then waits for all that was queued, and the
GPU idles until it is given more. So what is needed at one place is fetched at once, and what is
sent is pinned, since a copy of other memory waits, too.
"""

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on a device; a GPU gets it when it comes to it, and the host does not wait.

    The tensor must not be changed afterwards.
    """
    if torch.device(device).type != 'cuda' or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def fetch(*tensors: Tensor) -> list[Tensor]:
    """The tensors on the host, after one wait for all of them."""
    found = list(tensors)
    on_gpu = [i for i, tensor in enumerate(tensors) if tensor.is_cuda]
    on_gpu.sort(key=lambda i: tensors[i].numel())
    for i in on_gpu:
        # copies follow each other, so the last one alone is waited for; an empty one is none
        found[i] = tensors[i].to('cpu', non_blocking=i != on_gpu[-1])
    return [tensor.cpu() for tensor in found]  # of devices that are no GPU


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
