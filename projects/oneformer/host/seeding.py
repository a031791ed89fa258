"""Randomness that an interruption does not change: states to keep, and samples seeded by place."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import Sampler


def random_states() -> dict:
    """The states of all generators of this process, as tensors and plain values."""
    name, words, *rest = np.random.get_state()
    states = dict(
        python=random.getstate(),
        numpy=(name, torch.from_numpy(words.astype(np.int64)), *rest),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        states['cuda'] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: Mapping) -> None:
    """Go on from ``random_states``, wherever its tensors are now."""
    version, words, gauss = states['python']
    random.setstate((version, tuple(words), gauss))
    name, words, *rest = states['numpy']
    np.random.set_state((name, words.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states['torch'].cpu())
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())


class SeededIndex(int):
    """An index of a sample that knows its place in the training.

    Attributes:
        key: Seed of the sampler, epoch, and position in the stream of all processes.
    """

    key: tuple[int, ...]

    def __new__(cls, index: int, key: tuple[int, ...]) -> 'SeededIndex':
        """The number ``index`` with a key, see the class."""
        place = super().__new__(cls, index)
        place.key = key
        return place

    def __getnewargs__(self) -> tuple:
        return int(self), self.key


@contextmanager
def seeded_by(place: int) -> Iterator[None]:
    """Draw what depends on nothing but the place, and leave the process's generators as they were.

    Does nothing for an index that is not a ``SeededIndex``.
    """
    if not isinstance(place, SeededIndex):
        yield
        return
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seeds = np.random.SeedSequence(place.key).generate_state(6)
    try:
        random.seed(int(seeds[0]) << 32 | int(seeds[1]))
        np.random.seed(seeds[2:])
        torch.default_generator.manual_seed(int(seeds[4]) << 31 ^ int(seeds[5]))
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SeededIndices(Sampler):
    """The indices of another sampler, as ``SeededIndex``.

    Args:
        sampler: Sampler with ``seed``, ``rank`` and ``world_size``, as those of mmengine.

    Attributes:
        epoch: Part of the keys.
        position: Position of the next sample in the stream of this process.
        skipped: Samples to leave out when the sampler begins anew.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.epoch = self.position = self.skipped = 0

    def __getattr__(self, name: str):
        return getattr(self.sampler, name)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[SeededIndex]:
        skipped, self.skipped = self.skipped, 0
        for number, index in enumerate(self.sampler):
            if number < skipped:
                continue
            position = self.position * self.world_size + self.rank
            self.position += 1
            yield SeededIndex(index, (self.seed, self.epoch, position))


class SeededSamples:
    """Mixed into a dataset, makes a sample the same whoever loads it, and whenever."""

    def __getitem__(self, index: int):
        with seeded_by(index):
            return super().__getitem__(int(index))  # type: ignore[misc]  # of a dataset
