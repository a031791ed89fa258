"""Shapes of tensors by their names."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor."""
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def count(keys: Iterable[str], prefix: str) -> int:
    """Number of layers ``{prefix}{number}.``, by the highest number."""
    pattern = re.compile(re.escape(prefix) + r'(\d+)\.')
    numbers = [int(match[1]) for match in map(pattern.match, keys) if match]
    return max(numbers, default=-1) + 1
