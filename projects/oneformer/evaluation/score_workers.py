"""Processes that score images while the network computes the next ones.

They come of a fork server: a process of its own that imports the package once, beside the first
images, and has no GPU. A bounded queue of images waits for them; results come back in its order.
"""

import logging
import multiprocessing
import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmengine.logging import MMLogger, print_log

from ..host.leave_with_parent import leave_with_parent, outlive_signals
from .data_sample import naming_image
from .image_metric import ImageMetric

_AHEAD = 2  # images of the queue per worker


class ScoringError(RuntimeError):
    """An image could not be scored; the message names it."""


class Said(NamedTuple):
    """A line of the log of a worker."""

    level: int
    message: str


class _Collect(logging.Handler):
    """Keeps what a worker logs, for the log of the run."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[Said] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.said.append(Said(record.levelno, record.getMessage()))

    def take(self) -> list[Said]:
        """What was said since the last call."""
        said, self.said = self.said, []
        return said


_metrics: list[ImageMetric] = []  # of a worker
_pickled = b''
_log = _Collect()


def _start(metrics: bytes) -> None:
    """Make a process a worker."""
    global _pickled
    outlive_signals()
    leave_with_parent()
    MMLogger.get_current_instance().handlers[:] = [_log]
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    _pickled = metrics  # read with the first image, which an error then names


def image_of(sample: dict) -> str:
    """What messages call the image of a sample."""
    return f'image {sample.get("img_id")} ({sample.get("img_path")})'


def _replaced(sample: dict, kind: type, replace: Callable) -> dict:
    """A sample in whose elements values of one type are replaced."""

    def element(part: dict) -> dict:
        return {
            name: replace(value) if isinstance(value, kind) else value
            for name, value in part.items()
        }

    return {
        name: element(part) if isinstance(part, dict) else part for name, part in sample.items()
    }


def _score(sample: dict) -> tuple[list, list[Said]]:
    """The results of all metrics for an image, and what was logged."""
    try:
        if not _metrics:
            _metrics.extend(pickle.loads(_pickled))
        with naming_image(sample):
            sample = _replaced(sample, np.ndarray, torch.from_numpy)
            results = [metric.score(sample) for metric in _metrics]
    except ValueError:
        raise
    except Exception as error:
        raise ScoringError(f'{image_of(sample)}: {type(error).__name__}: {error}') from error
    return results, _log.take()


@contextmanager
def _importable() -> Iterator[None]:
    """Let a new Python find the modules of this one, also those of a path added by a script."""
    before = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, sys.path))
    try:
        yield
    finally:
        if before is None:
            del os.environ['PYTHONPATH']
        else:
            os.environ['PYTHONPATH'] = before


def _context():
    """The fork server, running."""
    from multiprocessing import forkserver

    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    with _importable():
        forkserver.ensure_running()
    return context


@contextmanager
def _without_main() -> Iterator[None]:
    """Let workers start without the script of this process, which would evaluate once more."""
    main = sys.modules['__main__']
    sys.modules['__main__'] = ModuleType('__main__')
    try:
        yield
    finally:
        sys.modules['__main__'] = main


class ScoreWorkers:
    """Worker processes with copies of some metrics.

    Args:
        metrics: Metrics that are ready to score, which get the results in the order of the images.
        number: Processes, from 1.
    """

    def __init__(self, metrics: Sequence[ImageMetric], number: int) -> None:
        self.metrics = metrics
        self.number = number
        self.queue: deque[tuple[str, Future]] = deque()
        self.told: set[Said] = set()
        self.pool = ProcessPoolExecutor(
            number, _context(), initializer=_start, initargs=(pickle.dumps(list(metrics)),)
        )

    def submit(self, sample: dict) -> None:
        """Hand an image on the host over; waits while the queue is full.

        Raises:
            ValueError, ScoringError: Of this image or one before it, which the message names.
        """
        while len(self.queue) >= _AHEAD * self.number or (self.queue and self.queue[0][1].done()):
            self._collect()
        self.queue.append((image_of(sample), self._hand_over(sample)))

    def _hand_over(self, sample: dict) -> Future:
        # tensors would go through files of shared memory, of which containers have little
        sample = _replaced(sample, torch.Tensor, torch.Tensor.numpy)
        try:
            with _without_main():
                return self.pool.submit(_score, sample)
        except BrokenProcessPool as error:
            raise self._killed() from error

    def finish(self) -> None:
        """Wait for all images, and end the workers."""
        while self.queue:
            self._collect()
        self.pool.shutdown()

    def cancel(self) -> None:
        """End the workers, without the images that wait."""
        self.queue.clear()
        self.pool.shutdown(cancel_futures=True)

    def _collect(self) -> None:
        """Take the results of the first image of the queue."""
        try:
            results, said = self.queue[0][1].result()
        except BrokenProcessPool as error:
            raise self._killed() from error
        self.queue.popleft()
        for metric, result in zip(self.metrics, results):
            metric.results.append(result)
        for line in said:
            if line not in self.told:
                self.told.add(line)
                print_log(line.message, logger='current', level=line.level)

    def _killed(self) -> ScoringError:
        names = ', '.join(name for name, _ in self.queue)
        return ScoringError(
            f'a process that scores was killed at one of {names or "the first images"}, maybe '
            f'because memory was short: choose less than {self.number} by --score-workers (or '
            'score_workers of the config); 0 scores in the main process'
        )


def is_apart(metric: Any) -> bool:
    """Whether other processes may score for a metric: one of this package, or made like them."""
    kind = type(metric)
    made_so = isinstance(metric, ImageMetric) and kind.process is ImageMetric.process
    return made_so and kind.__module__ != '__main__'  # which they do not know


def default_workers() -> int:
    """Processes that score beside each process with a GPU: few enough for the cores; 0 without."""
    if not torch.cuda.is_available():
        return 0  # the network wants the cores
    processes = max(1, int(os.environ.get('LOCAL_WORLD_SIZE') or 1))
    return min(4, len(os.sched_getaffinity(0)) // (4 * processes))
