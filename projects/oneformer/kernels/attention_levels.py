"""Levels of an encoder's tokens, and where and how much each token samples them.

Shapes: B images, N tokens of all levels, M heads, L levels, P points.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from .portable import is_portable


class Levels(NamedTuple):
    """The maps whose tokens attend to each other.

    Attributes:
        shapes: (height, width) of each.
        sizes: The same as int64 of shape (L, 2); None where operators have to be portable.
        starts: Index of each level's first token, int64 of shape (L,), or None as ``sizes``.
        centres: Centres of the tokens, (x, y) in [0, 1], of shape (N, 2).
    """

    shapes: list[tuple[int, int]]
    sizes: Tensor | None
    starts: Tensor | None
    centres: Tensor

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, int]], device: torch.device) -> 'Levels':
        """Describe levels of these (height, width).

        The last few are kept, and making one never waits for the device: numbers go there with the
        kernels that fill tensors, not as copies. Under a dispatch mode, whose tensors may have no
        values (as those of ``torch.export`` and fake tensors), none is kept or used again.
        """
        if is_portable():  # sizes may be symbols
            return Levels(list(shapes), None, None, _centres(shapes, device))
        key = tuple((int(h), int(w)) for h, w in shapes), torch.device(device)
        if _get_current_dispatch_mode() is not None:
            return _describe(*key)
        return _known(*key, torch.get_default_dtype())


def _describe(shapes: tuple[tuple[int, int], ...], device: torch.device) -> Levels:
    """See ``Levels.of``."""
    starts = [0]
    for height, width in shapes:
        starts.append(starts[-1] + height * width)
    sizes = _filled([side for shape in shapes for side in shape], device).view(-1, 2)
    return Levels(list(shapes), sizes, _filled(starts[:-1], device), _centres(shapes, device))


def _centres(shapes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """See ``Levels``."""
    centres = []
    for height, width in shapes:
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        grid = x.expand(height, -1), y[:, None].expand(-1, width)
        centres.append(torch.stack(grid, -1).flatten(0, 1))
    return torch.cat(centres)


@lru_cache(maxsize=64)
def _known(shapes: tuple[tuple[int, int], ...], device: torch.device, dtype: torch.dtype) -> Levels:
    # centres are of torch's default type, which is a part of the key
    with torch.inference_mode(False):  # or training could not use what a prediction made
        return _describe(shapes, device)


def _filled(numbers: Sequence[int], device: torch.device) -> Tensor:
    """``torch.tensor(numbers)`` on a device, without the copy for which the host would wait."""
    parts = [torch.full((1,), number, device=device) for number in numbers]
    return torch.cat(parts)


def find_samples(
    numbers: Tensor, levels: Levels, num_heads: int, num_points: int
) -> tuple[Tensor, Tensor]:
    """Locations and weights of all samples, as mmcv's functions take them.

    Args:
        numbers: Offsets (M, L, P, 2) in pixels, then scores (M, L, P) of each token, of shape
            (B, N, 3 * M * L * P).
        levels: Levels of the tokens.
        num_heads: M.
        num_points: P.

    Returns:
        Locations (x, y) in [0, 1] inside, of shape (B, N, M, L, P, 2), and the softmax of the
        scores, of shape (B, N, M, L, P).
    """
    offsets, scores = split_numbers(numbers, num_heads, len(levels.shapes), num_points)
    weights = scores.softmax(-1).unflatten(-1, (len(levels.shapes), num_points))
    assert levels.sizes is not None, 'portable operators have a path of their own'
    scale = levels.sizes.flip(1)[:, None]  # L 1 2, (width, height)
    return levels.centres[:, None, None, None] + offsets / scale, weights


def split_numbers(
    numbers: Tensor, num_heads: int, num_levels: int, num_points: int
) -> tuple[Tensor, Tensor]:
    """Offsets (B, N, M, L, P, 2) and scores (B, N, M, L * P) of what one linear layer wrote."""
    M, S = num_heads, num_levels * num_points
    offsets, scores = numbers.split((2 * M * S, M * S), -1)
    return offsets.unflatten(-1, (M, num_levels, num_points, 2)), scores.unflatten(-1, (M, S))
