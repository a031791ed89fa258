"""Where the time of a job goes: seconds by stage, and a picture of them."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from unittest import mock

from oneformer.studies.plots import save_figure

REST = 'the rest'


class Stages:
    """Seconds of a job by stage. What a stage waits for inside another counts as its own alone.

    ``seconds`` has them by name, after ``whole`` also ``REST``: what no stage took, such as loading
    the config, or in training waiting for data that other processes load.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    def _switch(self) -> None:
        now = time.perf_counter()
        if self._running:
            name = self._running[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count what happens inside."""
        self._switch()
        self._running.append(name)
        try:
            yield
        finally:
            self._switch()
            self._running.pop()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The job."""
        with self(REST):
            yield

    @contextmanager
    def calls(self, owner: object, method: str, name: str) -> Iterator[None]:
        """Count the calls of a method of an object or of a class."""
        original: Callable = getattr(owner, method)

        @wraps(original)
        def counted(*args, **kwargs):
            with self(name):
                return original(*args, **kwargs)

        with mock.patch.object(owner, method, counted):
            yield


def draw(path: Path, jobs: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a bar for each job, of the seconds of its stages."""
    from matplotlib.figure import Figure

    figure = Figure((9, 1 + 0.45 * len(jobs)), layout='constrained')
    axis = figure.subplots()
    names = dict.fromkeys(name for seconds in jobs.values() for name in seconds if name != REST)
    left = [0.0] * len(jobs)
    for number, name in enumerate([*names, REST]):
        widths = [seconds.get(name, 0.0) for seconds in jobs.values()]
        colour = '0.8' if name == REST else f'C{number}'
        axis.barh(range(len(jobs)), widths, left=left, color=colour, label=name)
        left = [start + width for start, width in zip(left, widths)]
    axis.set_yticks(range(len(jobs)), list(jobs), fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel('seconds')
    axis.legend(fontsize=8)
    save_figure(figure, path)
