"""Options of an inferencer: checked before anything is computed, and batches that share a size."""

from collections.abc import Sequence
from numbers import Integral, Real


def check_thresholds(**thresholds: float) -> None:
    """Raise ValueError for a value that is not a number in [0, 1]."""
    for name, value in thresholds.items():
        if not isinstance(value, Real) or not 0 <= value <= 1:
            raise ValueError(f'{name} is {value}, it has to be between 0 and 1')


def check_counts(**counts: int) -> None:
    """Raise ValueError for a value that is not a whole number from 1."""
    for name, value in counts.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f'{name} is {value}, it has to be a whole number of at least 1')


def given(**options) -> dict:
    """Options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def equal_batches(sizes: Sequence[tuple[int, int]], batch_size: int) -> list[list[int]]:
    """Batches of indices of equal sizes, in the order of their first index."""
    of_size: dict[tuple[int, int], list[int]] = {}
    for index, size in enumerate(sizes):
        of_size.setdefault(size, []).append(index)
    return sorted(
        indices[start : start + batch_size]
        for indices in of_size.values()
        for start in range(0, len(indices), batch_size)
    )
