"""Which deformable attention runs, and in which precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch

from oneformer.kernels import deformable_attention


def attention_paths(device: torch.device) -> list[str]:
    """Paths that run on a device; the last is the one that is chosen."""
    if device.type != 'cuda':
        return ['torch', 'cpu']
    chosen = deformable_attention.choose_path(device)[0]
    return list(dict.fromkeys(['torch', chosen]))


@contextmanager
def attention(path: str) -> Iterator[None]:
    """Run deformable attention by a path; 'auto' is what is chosen."""
    if path == 'auto':
        yield
        return
    with mock.patch.object(deformable_attention, 'choose_path', lambda device: (path, '')):
        yield


def precisions(device: torch.device) -> tuple[str, ...]:
    """Precisions that are checked on a device."""
    return ('fp32', 'tf32', 'bf16', 'fp16') if device.type == 'cuda' else ('fp32',)


@contextmanager
def precision(kind: str, device: torch.device) -> Iterator[None]:
    """Compute in 'fp32', 'tf32', 'bf16' or 'fp16'."""
    half = dict(bf16=torch.bfloat16, fp16=torch.float16).get(kind)
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = kind != 'fp32'
    try:
        with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
            yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before
