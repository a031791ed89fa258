"""The paths of deformable attention, which one runs on a device, and why.

In this order, each where it can run: on CUDA mmcv's operator, our Triton kernel, plain torch; on a
CPU bags of rows, plain torch; elsewhere plain torch. An option of the model asks for one of them.
"""

import importlib.util
import os
import shutil
import sysconfig
import warnings
from functools import lru_cache
from pathlib import Path

import torch
from mmcv.ops import get_compiling_cuda_version
from torch.utils._python_dispatch import _get_current_dispatch_mode

from ..host.compat import compiled_ops_available
from .portable import is_portable

PATHS = {
    'cuda': "mmcv's CUDA operator",
    'triton': 'our Triton kernel',
    'cpu': 'bags of rows',
    'torch': 'plain torch',
}
CHOICES = ('auto', *PATHS)
OPTION = 'model.panoptic_head.pixel_decoder.attention'
_ORDER = {'cuda': ('cuda', 'triton', 'torch'), 'cpu': ('cpu', 'torch')}
_REASONS = {
    'cuda': 'mmcv._ext is compiled with CUDA',
    'cpu': 'sums over bags of weighted rows, which need no operator of mmcv',
}


def check_choice(path: str) -> str:
    """Return a value of the option ``attention``.

    Raises:
        ValueError: If there is no such path.
    """
    if path not in CHOICES:
        names = ', '.join(map(repr, CHOICES))
        raise ValueError(f'{OPTION} is {path!r}: there are {names}')
    return path


def choose_path(device: torch.device | str, wanted: str = 'auto') -> tuple[str, str]:
    """Choose the implementation that runs on a device, and say why.

    On the first call for a GPU its Triton kernel is compiled and compared with plain torch, which
    takes seconds where Triton has not compiled it before.

    Args:
        device: Device of the tokens.
        wanted: Value of the option: ``'auto'`` or a path.

    Returns:
        A path and the reason. Where operators have to be portable the path is ``'gather'``, which
        is not among ``PATHS``.

    Raises:
        ValueError: If there is no such path as ``wanted``, or if it cannot run here; says what is
            missing, and what to do.
    """
    if is_portable():
        return 'gather', 'operators have to be portable'
    device = torch.device(device)
    if check_choice(wanted) != 'auto':
        obstacle = find_obstacle(wanted, device)
        if obstacle is None:
            return wanted, f'chosen by {OPTION}'
        raise ValueError(
            f'{OPTION} is {wanted!r}, but {PATHS[wanted]} cannot run on {device}: {obstacle}. '
            f"{OPTION}='auto' (for predictions --attention auto) takes what can, here "
            f'{choose_path(device)[0]!r}'
        )
    obstacles = []
    for path in _ORDER.get(device.type, ('torch',)):
        obstacle = find_obstacle(path, device)
        if obstacle is None:
            break
        obstacles.append(obstacle)
    if path == 'triton' and torch.cuda.is_available():
        obstacles.append('compared with plain torch here')
    reason = '; '.join(obstacles) or _REASONS.get(path, f'no other path is for {device.type}')
    if (path, device.type) == ('torch', 'cuda') and torch.cuda.is_available():
        told = f'deformable attention runs in plain torch, several times slower: {reason}'
        warnings.warn(told, stacklevel=2)  # Python shows it once
    return path, reason


def want_path(model: torch.nn.Module, wanted: str) -> str:
    """Set the option of a model, and return the path that runs then.

    Raises:
        ValueError: If the path cannot run on the model's device, or nothing takes one.
    """
    if not has_deformable_attention(model):
        if check_choice(wanted) != 'auto':
            raise ValueError(
                f'{OPTION} is {wanted!r}, but the model has no deformable attention: leave it '
                '(for predictions --attention) out'
            )
        return wanted
    path, _ = choose_path(next(model.parameters()).device, wanted)
    model.panoptic_head.pixel_decoder.attention = wanted
    return path


def has_deformable_attention(model: torch.nn.Module) -> bool:
    """Whether a model has the option; those of other projects count as if they had."""
    head = getattr(model, 'panoptic_head', None)
    return head is None or hasattr(getattr(head, 'pixel_decoder', None), 'attention')


def wanted_path(model: torch.nn.Module) -> str:
    """The option of a model; models without one have ``'auto'``."""
    decoder = getattr(getattr(model, 'panoptic_head', None), 'pixel_decoder', None)
    return getattr(decoder, 'attention', 'auto')


def find_obstacle(path: str, device: torch.device) -> str | None:
    """What keeps a path from running on a device, with the remedy; None if nothing does."""
    if path == 'torch':
        return None
    if path == 'cpu':
        return None if device.type == 'cpu' else 'they are for a CPU'
    if path == 'triton':
        return _triton_obstacle(device)
    if device.type != 'cuda':
        return 'it is for CUDA'
    if not compiled_ops_available():
        return 'mmcv was installed without compiled operators (mmcv._ext is missing)'
    if get_compiling_cuda_version() == 'not available':
        return 'mmcv._ext was compiled without CUDA'
    return None


def interpreting() -> bool:
    """Whether Triton interprets its kernels on a CPU, as the environment asks it to."""
    return os.environ.get('TRITON_INTERPRET') == '1'


def _triton_obstacle(device: torch.device) -> str | None:
    """See ``find_obstacle``."""
    if device.type == 'cpu' and interpreting():
        return None if _installed('triton') else 'Triton is not installed'
    if device.type != 'cuda':
        return 'it is for CUDA'
    if not _installed('triton'):
        return (
            'Triton is not installed (pip install triton; CUDA builds of torch for Linux have it)'
        )
    if _get_current_dispatch_mode() is not None:
        return None  # tensors may have no values to compare
    if not torch.cuda.is_available():
        return _missing_for_compiling()
    index = torch.cuda.current_device() if device.index is None else device.index
    return _failure_on(index)


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # by somebody who wants it to look missing
        return False


def _missing_for_compiling() -> str | None:
    """What Triton lacks to build the small C module with which it starts kernels."""
    compiler = os.environ.get('CC')
    if compiler is not None and shutil.which(compiler) is None:
        return f'Triton needs a C compiler, and CC={compiler} is none (unset it, or install gcc)'
    if compiler is None and not any(shutil.which(name) for name in ('gcc', 'clang')):
        return 'Triton needs a C compiler (install gcc or clang, or name one by CC)'
    if not Path(sysconfig.get_paths()['include'], 'Python.h').is_file():
        return "Triton needs Python's headers (install python3-dev or the like)"
    return None


@lru_cache(maxsize=64)
def _failure_on(index: int) -> str | None:
    """How our Triton kernel fails on a GPU; None if it computes there what plain torch does.

    Nothing else is asked beforehand: what Triton has compiled before needs no compiler.
    """
    from .triton_attention import compare_with_plain_torch

    try:
        return compare_with_plain_torch(torch.device('cuda', index))
    except Exception as error:  # of Triton, of the compiler that it starts, or of the driver
        first_line = (str(error).strip().splitlines() or [''])[0][:200]
        told = f'our Triton kernel fails here ({type(error).__name__}: {first_line})'
        missing = _missing_for_compiling()
        return told if missing is None else f'{told}: {missing}'
