"""Training that is stopped from outside saves, logs it, and exits with a code of its own.

Slurm warns before it ends a job; a job that it starts again continues from there (``resuming``).
"""

import errno
import logging
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner

from .checkpoint_files import CheckpointNotWritten
from .distributed import leave_processes
from .errors import CheckpointError
from .resuming import ResumableCheckpointHook
from .runner_state import accumulated_iterations

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: saved, to be started again
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # Slurm's warning, and the usual choice for --signal
_STEPS_BETWEEN = 5  # agreements of several processes on whether to stop, which cost a wait each


class TrainingStopped(SystemExit):
    """Training was asked to stop, and has saved all that it needs to continue."""


def _obey_parent() -> None:
    """End this process on a SIGTERM from its parent; ignore that signal from others."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != os.getppid():
        pass
    os._exit(0)


def _outlive_signals(init: Callable | None, worker_id: int) -> None:
    """Start a data worker that ignores Slurm's signals, which reach all processes of a job."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_obey_parent, daemon=True).start()
    if init is not None:
        init(worker_id)


@HOOKS.register_module()
class StopOnSignal(Hook):
    """Finishes the step, saves and stops, all processes together, when one gets a signal.

    The signals are SIGTERM and SIGUSR1. They take effect after an iteration of training, not
    during validation. Needs a ``ResumableCheckpointHook``.

    Raises:
        TrainingStopped: If a signal has come, with ``EXIT_CODE``, out of ``Runner.train``.
    """

    priority = 'LOWEST'  # the checkpoint contains the work of other hooks in the step

    def __init__(self) -> None:
        self._received = 0
        self._previous: dict[int, Any] = {}  # handlers by the number of their signal

    def before_run(self, runner: Runner) -> None:
        """Handle the signals in this process, and make the data workers ignore them."""
        if not isinstance(runner._train_loop, BaseLoop):  # testing
            return
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
        for loop in filter(None, (runner._train_loop, runner._val_loop)):
            loader = loop.dataloader
            loader.worker_init_fn = partial(_outlive_signals, loader.worker_init_fn)

    def _note(self, number: int, frame) -> None:
        self._received = number

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Save and stop if any process got a signal."""
        steps, rest = divmod(runner.iter + 1, accumulated_iterations(runner))
        if rest or runner.iter + 1 >= runner.max_iters:
            return
        number = self._received
        if get_world_size() > 1:
            if steps % _STEPS_BETWEEN:
                return
            received = torch.full((), number, device=get_device())  # no copy, which would wait
            all_reduce(received, 'max')
            number = int(received)
        if not number:
            return
        hook = next(hook for hook in runner.hooks if isinstance(hook, ResumableCheckpointHook))
        hook.save_now(runner)
        print_log(
            f'{signal.Signals(number).name}: stopped after iteration {runner.iter + 1}, saved as '
            f'{hook.last_ckpt}. Go on with --resume',
            'current',
            logging.WARNING,
        )
        self.after_run(runner)
        raise TrainingStopped(EXIT_CODE)

    def after_run(self, runner: Runner) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)


def train(runner: Runner) -> None:
    """Train, as a tool does: with an exit code, and one line for errors that a user can mend.

    Raises:
        SystemExit: If it was asked to stop, a checkpoint cannot be read, or none can be written.
    """
    try:
        runner.call_hook('before_init_weights')
        runner.train()
    except TrainingStopped:
        leave_processes(EXIT_CODE)
        raise
    except (CheckpointNotWritten, CheckpointError) as error:
        raise SystemExit(f'training stopped: {error}') from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SystemExit(f'training stopped: {runner.work_dir} is on a full disk') from error
