"""Which deformable attention runs, and in which precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from oneformer.kernels.attention_paths import (
    PATHS,
    choose_path,
    find_obstacle,
    want_path,
    wanted_path,
)


def attention_paths(device: torch.device) -> list[str]:
    """Paths that run on a device: plain torch first, and last the one that is chosen."""
    chosen = choose_path(device)[0]
    runnable = [path for path in PATHS if find_obstacle(path, device) is None]
    return sorted(runnable, key=lambda path: (path == chosen, path != 'torch'))


@contextmanager
def attention(model: nn.Module, path: str) -> Iterator[None]:
    """Let a model of ours run its deformable attention by a path; 'auto' is what is chosen."""
    if path == 'auto':
        yield
        return
    before = wanted_path(model)
    want_path(model, path)
    try:
        yield
    finally:
        want_path(model, before)


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
