"""Apply a function to many samples in several processes, with a progress bar."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

from mmengine.utils import ProgressBar

from ..host.leave_with_parent import leave_with_parent


@contextmanager
def _mapper(workers: int, chunksize: int) -> Iterator[Callable[..., Iterable]]:
    """A ``map`` over processes, or the plain one for one worker."""
    if workers == 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, initializer=leave_with_parent)
    try:
        yield partial(pool.map, chunksize=chunksize)
    finally:
        pool.shutdown(cancel_futures=True)


def _complaint(function: Callable, sample) -> str | None:
    try:
        function(sample)
    except ValueError as error:
        return str(error)
    return None


def for_each(function: Callable, samples: Sequence, workers: int) -> list[str]:
    """Call ``function(sample)`` for all samples.

    Bad input does not end the run: every complaint is returned, so that one run names all damaged
    files.

    Args:
        function: Picklable function of a picklable sample. Raises ``ValueError`` for bad input;
            all other exceptions end the run.
        samples: Arguments of the calls.
        workers: Processes, from 1.

    Returns:
        The messages of the ``ValueError`` exceptions, in the order of the samples.
    """
    if not samples:
        return []
    complaints, shown = [], 0
    bar = ProgressBar(len(samples), file=sys.stderr)
    # short enough to keep all workers busy to the end
    chunksize = max(1, min(32, len(samples) // (8 * workers)))
    with _mapper(workers, chunksize) as map_samples:
        results = map_samples(partial(_complaint, function), samples)
        for done, complaint in enumerate(results, 1):
            if complaint is not None:
                complaints.append(complaint)
            # a log file should not get a line for each of 118,287 images
            if done == len(samples) or done - shown >= len(samples) / 200:
                bar.update(done - shown)
                shown = done
    print(file=sys.stderr)
    return complaints
