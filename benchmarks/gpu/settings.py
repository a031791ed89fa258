"""Which deformable attention runs, and which precisions there are."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import nn

from oneformer.kernels.attention_paths import (
    PATHS,
    choose_path,
    find_obstacle,
    want_path,
    wanted_path,
)
from oneformer.kernels.precision import PRECISIONS, check_precision


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


def precisions(device: torch.device) -> list[str]:
    """Precisions that are checked on a device: on a GPU all that it has."""
    found = []
    for name in PRECISIONS if device.type == 'cuda' else ('fp32',):
        with suppress(ValueError):  # of an older GPU
            check_precision(name, device)
            found.append(name)
    return found
