"""Options of a prediction, checked before anything is computed, and batches that share a size."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

from .description import TASKS, Thresholds


def check_tasks(tasks: str | Sequence[str]) -> tuple[str, ...]:
    """One or several task words as a tuple without repetition; ValueError for other words."""
    words = [tasks] if isinstance(tasks, str) else tasks
    if not isinstance(words, Iterable) or not words:
        raise ValueError(f'no task: name one or more of {", ".join(TASKS)}')
    for word in words:
        if word not in TASKS:
            raise ValueError(f'unknown task {word!r}: choose one of {", ".join(TASKS)}')
    return tuple(dict.fromkeys(words))


def check_share(name: str, value: float) -> None:
    """Raise ValueError for a value that is not a number in [0, 1]."""
    if not isinstance(value, Real) or not 0 <= value <= 1:
        raise ValueError(f'{name} is {value}, it has to be between 0 and 1')


def check_count(name: str, value: int) -> None:
    """Raise ValueError for a value that is not a whole number from 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f'{name} is {value}, it has to be a whole number of at least 1')


def choose_thresholds(own: Thresholds, **given: Any) -> Thresholds:
    """The thresholds of a model, with those in their place that are given and not None.

    Raises:
        ValueError: For values out of range.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    for name, value in chosen.items():
        (check_count if name == 'max_per_image' else check_share)(name, value)
    return replace(own, **chosen)


def equal_batches(sizes: Sequence[tuple[int, int]], batch: int) -> list[list[int]]:
    """Batches of indices of equal sizes, in the order of their first index."""
    of_size: dict[tuple[int, int], list[int]] = {}
    for index, size in enumerate(sizes):
        of_size.setdefault(size, []).append(index)
    return sorted(
        indices[start : start + batch]
        for indices in of_size.values()
        for start in range(0, len(indices), batch)
    )
