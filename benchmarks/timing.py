"""Time variants side by side, and show the ratios."""

import argparse
import gc
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cv2
import torch
from terminaltables import AsciiTable

from oneformer.host.lines import installed_version

PACKAGES = ('torch', 'numpy', 'onedl-mmdetection', 'mmdet')  # of the last two one


class ResultsDiffer(Exception):
    """Two variants do not compute the same, so their times must not be compared."""


class OutOfBounds(Exception):
    """What was measured leaves a bound.

    Attributes:
        results: All that was measured, which is shown and written all the same.
    """

    def __init__(self, text: str, results: Sequence['Row | Figure | Note']) -> None:
        super().__init__(text)
        self.results = results


# how tables show what is measured
SCALES = dict(seconds=(1000, 'ms'), bytes=(2**-20, 'MiB'))


class Variant(NamedTuple):
    """One way to do the work.

    ``run`` is timed. It gets what ``prepare`` returns, which is not timed and called before each
    run, for work that changes its input.
    """

    run: Callable[[Any], Any]
    prepare: Callable[[], Any]


class Row(NamedTuple):
    """Seconds or bytes of ours and of a peer for the same work, one number per round.

    ``note`` is printed behind the name.
    """

    name: str
    ours: Sequence[float]
    peer: Sequence[float]
    unit: str = 'seconds'
    note: str = ''

    @property
    def ratio(self) -> float:
        """Factor by which ours is faster, for seconds; ours as a share of the peer's, for bytes."""
        return self.ratios([median(self.ours)], [median(self.peer)])[0]

    def ratios(self, ours: Sequence[float], peer: Sequence[float]) -> list[float]:
        """Ratio of each round, see ``ratio``."""
        pairs = zip(ours, peer) if self.unit == 'bytes' else zip(peer, ours)
        return [above / below for above, below in pairs]


class Figure(NamedTuple):
    """A number without a peer, and its description."""

    name: str
    value: float
    text: str


class Note(NamedTuple):
    """A line below the table, of which a JSON file has nothing."""

    text: str


def positive_int(text: str) -> int:
    """Type of arguments that count something."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1, not {value}')
    return value


def fix_threads(count: int) -> None:
    """Let OpenCV and torch use ``count`` threads; NumPy's part of the work has one anyway."""
    cv2.setNumThreads(count)
    torch.set_num_threads(count)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``; a GPU is timed with CUDA events and has its own memory measured."""
    default = 'cuda' if torch.cuda.is_available() else 'cpu'
    parser.add_argument('--device', type=torch.device, default=default, help='cpu or cuda')


class Clock:
    """Seconds between laps."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.last = self._now()

    def _now(self):
        if self.device.type != 'cuda':
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def lap(self) -> float:
        """Seconds since the last lap or the start; waits for the GPU."""
        last, self.last = self.last, self._now()
        if self.device.type != 'cuda':
            return self.last - last
        self.last.synchronize()
        return last.elapsed_time(self.last) / 1000


CPU = torch.device('cpu')


def alternate(
    variants: Mapping[str, Variant],
    repeats: int,
    check: Callable[[dict], None],
    device: torch.device = CPU,
) -> dict[str, list[float]]:
    """Run all variants in turn: one round to warm up and compare, then ``repeats`` timed ones.

    Each round starts with another variant, and garbage is collected between runs, not in them.

    Args:
        variants: Variants by name.
        repeats: Number of timed rounds, at least 1.
        check: Callback for the results of the first round by name, which raises ``ResultsDiffer``
            unless they are the same; then nothing is timed.
        device: Device that does the work.

    Returns:
        Seconds of each variant, one number per round.
    """
    names = list(variants)
    check({name: variants[name].run(variants[name].prepare()) for name in names})
    seconds = {name: [] for name in names}
    gc.disable()
    was_frozen = gc.get_freeze_count() > 0
    gc.freeze()  # imported objects need not be searched before each run
    try:
        for number in range(repeats):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                prepared = variants[name].prepare()
                gc.collect()
                clock = Clock(device)
                result = variants[name].run(prepared)
                seconds[name].append(clock.lap())
                del prepared, result  # here, since freeing memory takes time, too
    finally:
        if not was_frozen:
            gc.unfreeze()
        gc.enable()
    return seconds


def cpu_name() -> str:
    """Model of the processor, as far as the system tells."""
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return models[0] if models else platform.processor() or platform.machine()


def describe_machine(threads: int) -> str:
    """One line: processor, threads, versions, and how busy the machine was."""
    installed = {name: installed_version(name) for name in PACKAGES}
    versions = ', '.join(f'{name} {number}' for name, number in installed.items() if number)
    busy = f', load {os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else ''
    return (
        f'{cpu_name()}, {os.cpu_count()} cores{busy}; {threads} threads; '
        f'Python {platform.python_version()}, {versions}, OpenCV {cv2.__version__}'
    )


def format_results(results: Sequence[Row | Figure | Note]) -> str:
    """A table with medians, their ratio, and its range over the rounds; the rest below it."""
    table = [['ours against peer', 'ours', 'peer', 'result', 'in single rounds']]
    for row in results:
        if isinstance(row, Row):
            ratios = row.ratios(row.ours, row.peer)
            scale, unit = SCALES[row.unit]
            says = f'{row.ratio:.2f} ' + ('times faster' if row.unit == 'seconds' else 'of peer')
            table.append(
                [
                    row.name + (f' ({row.note})' if row.note else ''),
                    f'{scale * median(row.ours):.1f} {unit}',
                    f'{scale * median(row.peer):.1f} {unit}',
                    says,
                    f'{min(ratios):.2f} to {max(ratios):.2f}',
                ]
            )
    lines = [
        f'{row.name}: {row.value:.3g} {row.text}' for row in results if isinstance(row, Figure)
    ] + [row.text for row in results if isinstance(row, Note)]
    return '\n'.join([AsciiTable(table).table] * (len(table) > 1) + lines)


def flat_results(results: Sequence[Row | Figure | Note]) -> dict[str, float]:
    """Flat content for JSON: the ratio under the row's name, the medians below it."""
    flat = {}
    for row in results:
        if isinstance(row, Figure):
            flat[row.name] = row.value
        if not isinstance(row, Row):
            continue
        flat[row.name] = row.ratio
        flat[f'{row.name}/{row.unit}_ours'] = median(row.ours)
        flat[f'{row.name}/{row.unit}_peer'] = median(row.peer)
    return flat
