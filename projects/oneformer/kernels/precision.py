"""The number format of a network that predicts, by its name; predictions are made in float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..host import processor
from ..host.float32_products import float32_products, lack_of_ampere, lack_of_tf32

PRECISIONS = dict(
    fp32='float32',
    tf32='float32 with products in TF32',
    bf16='bfloat16 autocast',
    fp16='float16 autocast',
)
_AUTOCAST = dict(bf16=torch.bfloat16, fp16=torch.float16)
_INSTRUCTIONS = dict(bf16='AVX512-BF16, AMX', fp16='AVX512-FP16, AMX-FP16')


def check_precision(
    precision: str, device: torch.device | str | None = None, option: str = 'precision'
) -> None:
    """Check a precision, and that a device has it.

    Args:
        precision: One of ``PRECISIONS``.
        device: Device of the network; None checks the name alone.
        option: What the user has set, for messages.

    Raises:
        ValueError: For another name, and for a device without it.
    """
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ValueError(f'{option} is {precision!r}: it has to be one of {", ".join(PRECISIONS)}')
    if device is not None and (lack := _lack(precision, torch.device(device))):
        reason, remedy = lack
        raise ValueError(f'{option} is {precision}, but {reason}: choose {remedy}')


def usable_precision(
    precision: str, device: torch.device, option: str = 'precision'
) -> tuple[str, str | None]:
    """The precision that a network runs in, and a warning if it is not the one that was asked for.

    A processor without products in half precision runs float32, which is faster there.

    Args:
        precision: One of ``PRECISIONS`` that the device has.
        device: Device of the network.
        option: What the user has set, for the warning.
    """
    if precision not in _AUTOCAST or device.type != 'cpu' or processor.multiplies(precision):
        return precision, None
    return 'fp32', (
        f'{option} is {precision}, but this processor is not known to multiply '
        f'{_AUTOCAST[precision]} ({_INSTRUCTIONS[precision]}), and would be slower than in '
        'float32: float32 is used'
    )


def _lack(precision: str, device: torch.device) -> tuple[str, str] | None:
    """Why a device lacks a precision, and what to choose; None if it has it."""
    is_cuda = device.type == 'cuda'
    if precision == 'tf32':
        reason = lack_of_tf32(device)
        return None if reason is None else (reason, 'fp32, or fp16' if is_cuda else 'fp32')
    if precision == 'bf16' and is_cuda and not torch.version.hip:
        reason = lack_of_ampere(device, 'bfloat16')
        return None if reason is None else (reason, 'fp16')
    if precision in _AUTOCAST and not torch.amp.is_autocast_available(device.type):
        return f'torch {torch.__version__} has no autocast on {device.type}', 'fp32'
    return None


@contextmanager
def network_precision(precision: str | None, device: torch.device) -> Iterator[None]:
    """Run a network in a number format, whatever surrounds it.

    Steps that need float32 have it in any format, see ``docs/precision.md``. On a processor without
    products in half precision all have it.

    Args:
        precision: One of ``PRECISIONS``; None for that of the surroundings.
        device: Device of the network.

    Raises:
        ValueError: If the device does not have it.
    """
    if precision is None:
        yield
        return
    check_precision(precision, device, 'model.test_cfg.precision')
    dtype = _AUTOCAST.get(usable_precision(precision, device)[0])
    if dtype is not None:
        with torch.autocast(device.type, dtype):
            yield
        return
    with torch.autocast(device.type, enabled=False), float32_products(precision != 'tf32'):
        yield


@contextmanager
def float32_step(device: torch.device) -> Iterator[None]:
    """Compute a step in float32 that the original keeps out of half precision.

    In prediction on a CPU its products stay in bfloat16, if the rest is: there they are most of the
    time. What it does beside them is in float32, and is to be given float32.
    """
    kind = device.type
    keeps = (
        kind == 'cpu'
        and not torch.is_grad_enabled()
        and torch.is_autocast_enabled(kind)
        and torch.get_autocast_dtype(kind) == torch.bfloat16
        and processor.multiplies('bf16')
    )
    with torch.autocast(kind, torch.bfloat16 if keeps else None, enabled=keeps):
        yield


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Compute in float32 without TF32, whatever surrounds it."""
    with torch.autocast(device.type, enabled=False), float32_products(exact=True):
        yield
