"""How exact a GPU's matrix products of float32 are: a setting of the process, changed for a while.

TensorFloat-32 (TF32) rounds the factors to the 10 bits of mantissa that float16 has, and keeps the
range of float32. NVIDIA GPUs from Ampere on then use their tensor cores.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def lack_of_tf32(device: torch.device | str) -> str | None:
    """Why a device has no TF32; None if it has."""
    device = torch.device(device)
    if device.type != 'cuda':
        return f'TF32 is of NVIDIA GPUs, and the model is on {device.type}'
    if torch.version.hip:
        supported = getattr(torch.cuda, 'is_tf32_supported', lambda: False)()
        return None if supported else 'this AMD GPU has no TF32'
    return lack_of_ampere(device, 'TF32')


def lack_of_ampere(device: torch.device, what: str) -> str | None:
    """Why an NVIDIA GPU lacks what came with compute capability 8.0; None if it does not."""
    major, minor = torch.cuda.get_device_capability(device)
    if major >= 8:
        return None
    name = torch.cuda.get_device_name(device)
    return f'{what} needs compute capability 8.0 (Ampere), and {name} has {major}.{minor}'


def _own_settings() -> dict:
    """The settings of torch 2.9 and later for products alone, by what has them."""
    holders = (torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, 'matmul', None))
    values = {holder: getattr(holder, 'fp32_precision', None) for holder in holders}
    return {holder: value for holder, value in values.items() if value is not None}


def _restore(settings: dict) -> None:
    """Set what ``_own_settings`` returned, as far as ``torch.backends.fp32_precision`` does not."""
    for holder, value in settings.items():
        holder.fp32_precision = 'none'  # follows it
        if holder.fp32_precision != value:
            holder.fp32_precision = value


@contextmanager
def float32_products(exact: bool) -> Iterator[None]:
    """Let float32 matrix products be exact, or allow TF32; afterwards it is as it was.

    Other threads see the setting, too. Convolutions follow ``torch.backends.cudnn``, by which
    torch allows them TF32.

    Args:
        exact: Whether products have all 24 bits.
    """
    own = _own_settings()
    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # the process has used torch's newer settings, which exclude this one
        matmul = torch.backends.cuda.matmul
        matmul.fp32_precision = 'ieee' if exact else 'tf32'
        try:
            yield
        finally:
            _restore({matmul: own[matmul]})
        return
    wanted = 'highest' if exact else 'high'
    if before == wanted or (before == 'medium' and not exact):
        yield
        return
    torch.set_float32_matmul_precision(wanted)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        _restore(own)
