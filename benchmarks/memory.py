"""Peak memory of a piece of work, above what its process or its GPU held before."""

import ctypes
import gc
import re
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

_STATUS, _RESET = Path('/proc/self/status'), Path('/proc/self/clear_refs')


def in_own_process(work: Callable, *arguments):
    """Result of ``work`` in a new process, which may have processes of its own.

    It imports the packages anew, since networks are slower in forks of one that has imported them.
    """
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        return pool.submit(work, *arguments).result()


def lifetime_peak() -> int:
    """Most bytes that this process has held.

    Linux's ``ru_maxrss`` begins with what the process held that started this one.
    """
    if _STATUS.exists():
        return _from_status('VmHWM')
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else 1024 * peak


def _from_status(key: str) -> int:
    return 1024 * int(re.search(rf'{key}:\s*(\d+) kB', _STATUS.read_text()).group(1))


class PeakMeter:
    """Peak bytes since the last lap, above the bytes held when the meter was made or restarted.

    Without Linux's counters, which can be reset, the bytes held are taken to be the peak so far,
    which is too much if building the model took more than the model.

    Args:
        device: Device to measure: a GPU's own memory, else that of the process.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        gc.collect()
        if _RESET.exists():
            # memory left in the allocator by building the model would hide that of the work
            getattr(ctypes.CDLL(None), 'malloc_trim', int)(0)
        self.restart()

    def restart(self) -> None:
        """Measure from the bytes held now."""
        if self.device.type == 'cuda':
            torch.cuda.synchronize()
            self.held = torch.cuda.memory_allocated()
        else:
            self.held = _from_status('VmRSS') if _RESET.exists() else lifetime_peak()
        self._reset()

    def _reset(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        elif _RESET.exists():
            _RESET.write_text('5')

    def lap(self) -> int:
        """Peak bytes, at least 1, so that one can divide by them."""
        if self.device.type == 'cuda':
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated()
        else:
            peak = _from_status('VmHWM') if _RESET.exists() else lifetime_peak()
        self._reset()
        return max(peak - self.held, 1)


def peak_of(work: Callable[[], object], device: torch.device) -> int:
    """Peak bytes of ``work`` above the bytes held now."""
    meter = PeakMeter(device)
    work()
    return meter.lap()
