"""Validation is announced, since the log is silent while it runs."""

import time

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from .pace import duration
from .rehearsal import Length
from .run_plan import count


def _moment(runner: Runner) -> str:
    """``the final validation, after iteration 6 of 6``, or what else the run is about to do."""
    if not isinstance(runner._train_loop, BaseLoop):  # validation alone
        return 'validation'
    length = Length.of(runner)
    end, unit = length.end(length.by_epoch)
    done = runner.epoch if length.by_epoch else runner.iter
    kind = 'the final validation,' if done >= end else 'validation'
    return f'{kind} after {unit} {done} of {end}'


@HOOKS.register_module()
class ValidationNotice(Hook):
    """Logs the start of each validation: its place in the run, images, and the last duration."""

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._start = 0.0  # seconds of a clock
        self._took: float | None = None

    def before_val(self, runner: Runner) -> None:
        """Log the beginning."""
        images = count(len(runner.val_dataloader.dataset), 'image')
        before = '' if self._took is None else f'; the one before took {duration(self._took)}'
        runner.logger.info(f'{_moment(runner)}, on {images}{before}')
        self._start = time.monotonic()

    def after_val(self, runner: Runner) -> None:
        """Measure the time, for the next line."""
        self._took = time.monotonic() - self._start
