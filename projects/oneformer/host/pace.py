"""The time of an iteration and of the whole run: one line early in the log."""

import time

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

_START, _END = 5, 20  # iterations; the first are slower: kernels are chosen, workers start


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.5 h`` or ``2.1 days``."""
    for unit, size in (('days', 86400), ('h', 3600), ('min', 60)):
        if seconds >= 2 * size:
            return f'{seconds / size:.3g} {unit}'
    return f'{seconds:.2g} s'


@HOOKS.register_module()
class PaceLine(Hook):
    """Logs the time of an iteration after the first 20, of the remaining ones, and of the run.

    In a resumed run, the first 20 iterations after resuming count. Validation is left out.
    """

    priority = 'LOWEST'  # of the whole iteration, the other hooks included

    def __init__(self) -> None:
        self._seen, self._start = 0, 0.0

    def before_train(self, runner: Runner) -> None:
        """Reset the count of iterations."""
        self._seen = 0

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Measure the time, and log it once."""
        self._seen += 1
        if self._seen == _START:
            self._start = time.monotonic()
        if self._seen != _END:
            return
        each = (time.monotonic() - self._start) / (_END - _START)
        done, total = runner.iter + 1, runner.max_iters
        runner.logger.info(
            f'an iteration takes {each:.3g} s (mean of the {_END - _START} up to iteration '
            f'{done}): {duration(each * (total - done))} left for {total - done} iterations, '
            f'{duration(each * total)} in all for {total}, without validation'
        )

    def before_val(self, runner: Runner) -> None:
        """Stop the clock for validation."""
        self._val = time.monotonic()

    def after_val(self, runner: Runner) -> None:
        """Restart the clock after validation."""
        self._start += time.monotonic() - self._val
