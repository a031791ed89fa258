"""Lines of JSON as they come, a budget of time, and a verdict at the end."""

import contextlib
import gc
import json
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from .. import peers

_LARGE = peers.Shape(
    swin_channels=192,
    swin_depths=(2, 2, 18, 2),
    swin_heads=(6, 12, 24, 48),
    swin_window=12,
    queries=250,
)


class Section(NamedTuple):
    """A part of the check.

    Attributes:
        name: Name of the section.
        run: Function of ``Check``.
        seconds: What it takes at least; it is skipped if less is left.
    """

    name: str
    run: Callable[['Check'], None]
    seconds: float


class Check:
    """The device, how large the models are, and what was found so far.

    Args:
        device: Device to check.
        tiny: Whether models, images and repeats are as small as they can be, which only tries the
            check itself.
        budget: Seconds after which no further section, and no further row of one, is begun.
        write: Takes each line.
    """

    def __init__(
        self,
        device: torch.device,
        tiny: bool = False,
        budget: float = 470,
        write: Callable[[str], object] = print,
    ) -> None:
        self.device, self.tiny, self.budget = device, tiny, budget
        self.on_gpu = device.type == 'cuda'
        self.small = peers.SMALL if tiny else peers.SHAPE  # Swin-T, ResNet-50
        self.large = peers.SMALL if tiny else _LARGE  # Swin-L
        self.section = ''
        self.failed: list[str] = []
        self.skipped: list[str] = []
        self._write, self._begin = write, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._begin

    @property
    def left(self) -> float:
        """Seconds left of the budget; without end for a tiny check."""
        return float('inf') if self.tiny else self.budget - self.seconds

    def say(self, **facts) -> None:
        """Print a line of the section; ``passed=False`` fails the check."""
        if facts.get('passed') is False:
            self._fail(facts)
        line = dict(t=round(self.seconds, 1), section=self.section, **facts)
        self._write(json.dumps(_rounded(line), default=str))

    def _fail(self, facts: dict) -> None:
        words = (facts.get(key) for key in ('what', 'model', 'backbone', 'path', 'precision'))
        self.failed.append(' '.join([self.section, *(str(word) for word in words if word)]))

    @contextlib.contextmanager
    def row(self, **facts) -> Iterator[None]:
        """One measurement: an error becomes a line and fails the check, and the next one runs."""
        try:
            yield
        except torch.OutOfMemoryError as error:  # is not a fault: cards differ
            self.say(**facts, out_of_memory=str(error).split('.')[0])
        except Exception as error:
            places = traceback.extract_tb(error.__traceback__)
            at = [f'{Path(place.filename).name}:{place.lineno}' for place in places]
            text = f'{type(error).__name__}: {error}'[:600]
            self.say(**facts, error=text, at=at[-4:], passed=False)
        finally:
            self.clean()

    def run(self, sections: list[Section]) -> bool:
        """Run sections in order and print the verdict; whether all passed."""
        for section in sections:
            self.section = section.name
            if self.left < section.seconds:
                self.skipped.append(section.name)
                self.say(skipped=f'{self.left:.0f} s left, {section.seconds:.0f} needed')
                continue
            begin = self.seconds
            with self.row():
                section.run(self)
            self.say(done_in=self.seconds - begin)
        self.section = 'verdict'
        passed = not self.failed
        verdict = dict(failed=self.failed, skipped=self.skipped, seconds=self.seconds)
        self.say(verdict='passed' if passed else 'failed', **verdict)
        return passed

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def clean(self) -> None:
        """Free what is left over."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def measure(self, work: Callable[[], object], seconds: float = 2.0, most: int = 30) -> dict:
        """Time some work, after two rounds to warm up.

        Args:
            work: What to time.
            seconds: Time for which to repeat it.
            most: Most rounds.

        Returns:
            ``ms`` (median), ``best_ms``, ``rounds``, and on a GPU ``peak_mib``, the most memory
            above what was held before.
        """
        self.clean()
        held = torch.cuda.memory_allocated() if self.on_gpu else 0
        for _ in range(0 if self.tiny else 2):
            work()
        self.synchronize()
        times: list[float] = []
        begin = time.perf_counter()
        most = 1 if self.tiny else most
        while not times or (len(times) < most and time.perf_counter() - begin < seconds):
            times.append(1000 * self._timed(work))
        found = dict(ms=median(times), best_ms=min(times), rounds=len(times))
        if self.on_gpu:
            found['peak_mib'] = (torch.cuda.max_memory_allocated() - held) / 2**20
        return found

    def _timed(self, work: Callable[[], object]) -> float:
        if not self.on_gpu:
            begin = time.perf_counter()
            work()
            return time.perf_counter() - begin
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        work()
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / 1000


def _rounded(value):
    """Numbers with four digits, also in containers; nan and infinity, which JSON lacks, as text."""
    if isinstance(value, float):
        return float(f'{value:.4g}') if abs(value) < float('inf') else str(value)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value
