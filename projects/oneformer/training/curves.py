"""``curves.png`` in the work folder: the course of a training as one picture."""

import logging
import os.path as osp
import time

from mmdet.registry import HOOKS
from mmengine.dist import is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import Runner

from ..host.safe_io import write_bytes
from .curve_drawing import draw_curves
from .log_lines import last_layer_losses

_KEY = 'curves'  # key in the message hub, which is part of the checkpoints
_KINDS = ('losses', 'rates', 'metrics')


@HOOKS.register_module()
class TrainingCurves(Hook):
    """Draws losses of the last layer, learning rate and the first figure of each task.

    The points are part of the checkpoints, so a resumed training continues with those of its
    checkpoint. The picture is written whole, at each validation, at the end, and at most once a
    minute between. An error in drawing is logged once, and training continues.

    Args:
        interval: Iterations between the points of losses, each of which is a mean over them; by
            default those between the lines of the log.
        file_name: Name of the picture, in the work folder.
        every: Seconds between two pictures, beside those at a validation and at the end.
    """

    priority = 'BELOW_NORMAL'  # after the losses are in the message hub, before it is saved

    def __init__(
        self, interval: int | None = None, file_name: str = 'curves.png', every: float = 60
    ) -> None:
        if interval is not None and (not isinstance(interval, int) or interval < 1):
            raise ValueError(
                f'TrainingCurves.interval is {interval!r}: it takes a number of iterations from 1, '
                'or None for that of the log'
            )
        self.interval, self.file_name, self.every = interval, file_name, every
        self._drawn, self._is_new, self._is_broken = 0.0, False, False

    def before_train(self, runner: Runner) -> None:
        """Read the interval of the log."""
        logs = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._step = self.interval or (logs[0] if logs else 50)
        self._drawn = time.monotonic()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Add a point, every ``interval`` iterations and at the last."""
        done = runner.iter + 1
        since = done % self._step or self._step
        if not is_main_process() or (since != self._step and done != runner.max_iters):
            return
        scalars = {
            name.removeprefix('train/'): values
            for name, values in runner.message_hub.log_scalars.items()
            if name.startswith('train/')
        }
        for name in last_layer_losses(scalars):
            self._add(runner, 'losses', name, done, scalars[name].mean(since))
        for name in scalars:
            if name.endswith('base_lr'):
                self._add(runner, 'rates', name, done, scalars[name].current())
        if time.monotonic() - self._drawn >= self.every:
            self.draw(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Add the first figure of each task, or of each other prefix of the names of figures."""
        if not is_main_process():
            return
        first = {}
        for name in metrics or {}:
            first.setdefault(name.rpartition('/')[0], name)
        for name in first.values():
            self._add(runner, 'metrics', name, runner.iter, metrics[name])

    def after_val(self, runner: Runner) -> None:
        """Draw the picture."""
        self.draw(runner)

    def after_train(self, runner: Runner) -> None:
        """Draw the picture."""
        self.draw(runner)

    def _add(self, runner: Runner, kind: str, name: str, place: int, value: float) -> None:
        """Add a point; one at the same place is replaced, such as by a repeated validation."""
        hub = runner.message_hub
        if _KEY not in hub.runtime_info:
            hub.update_info(_KEY, {kind: {} for kind in _KINDS})
        places, values = hub.runtime_info[_KEY][kind].setdefault(name, [[], []])
        while places and places[-1] >= place:
            places.pop(), values.pop()
        places.append(int(place)), values.append(float(value))
        self._is_new = True

    def draw(self, runner: Runner) -> None:
        """Write the picture, if there is something new to draw."""
        points = runner.message_hub.runtime_info.get(_KEY)
        if not is_main_process() or not points or not self._is_new or self._is_broken:
            return
        self._drawn, self._is_new = time.monotonic(), False
        path = osp.join(runner.work_dir, self.file_name)
        try:
            title = f'{runner.experiment_name}, iteration {runner.iter} of {runner.max_iters}'
            write_bytes(path, draw_curves(title, *(points[kind] for kind in _KINDS)))
        except Exception as error:  # a picture must not stop a training
            self._is_broken = True
            runner.logger.log(
                logging.WARNING,
                f'{path} could not be drawn ({type(error).__name__}: {error}): training goes on '
                'without it. default_hooks.curves=None draws none',
            )
