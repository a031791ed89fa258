"""The start of a run in ten lines on the screen; its log file has everything.

mmengine logs the environment, the whole config and the order of the hooks, some 700 lines, before
any line about the training.
"""

import logging
import os.path as osp

from mmdet.registry import LOG_PROCESSORS, RUNNERS
from mmengine.config import Config
from mmengine.runner import Runner

from ..evaluation.evaluator import OneFormerEvaluator
from ..evaluation.score_workers import default_workers
from .log_lines import ReadableLog

# beginnings of mmengine's messages that the screen leaves out
_FILE_ONLY = (
    f'\n{"-" * 60}\nSystem environment:',
    'Config:\n',
    'Hooks will be executed in the following order:',
    'Distributed training is not used, all SyncBatchNorm',
    'Checkpoints will be saved to ',
    'Exp name: ',
    # about its own calls
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)
# parts of messages that each validation logs, and the screen shows once
_ONCE = (' have no ground truth and are nan', ' is nan: ', ' are nan: ')
DETAIL = dict(detail=True)  # ``extra`` of a record that the screen does without


class _Screen(logging.Filter):
    """Filters the records for the screen; ``details`` are those marked by ``DETAIL``."""

    def __init__(self, details: bool) -> None:
        super().__init__()
        self.details, self.seen = details, set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        if getattr(record, 'detail', False) and not self.details:
            return False
        message = record.getMessage()
        if any(part in message for part in _ONCE):
            is_new = message not in self.seen
            self.seen.add(message)
            return is_new
        return not message.startswith(_FILE_ONLY)


def quieten_screen(logger: logging.Logger, details: bool = False) -> None:
    """Keep records from the screen that only the log file needs.

    Args:
        logger: Logger of a run. Its handlers of files stay as they are.
        details: Whether to keep the less important facts of the start on the screen.
    """
    for handler in logger.handlers:
        is_screen = type(handler) is logging.StreamHandler  # files have kinds of their own
        if is_screen and not any(isinstance(f, _Screen) for f in handler.filters):
            handler.addFilter(_Screen(details))


def _is_readable(cfg: Config) -> bool:
    """Whether a run has lines of ``ReadableLog``; with mmengine's lines its start is shown, too."""
    kind = (cfg.get('log_processor') or {}).get('type', 'LogProcessor')
    kind = LOG_PROCESSORS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, ReadableLog)


def scoring_apart(kind: type, workers: int | None) -> type:
    """A class of runners that score by ``OneFormerEvaluator`` where the config names metrics alone.

    Args:
        kind: Class of the runner.
        workers: Processes that score, None for as many as suit the machine.
    """
    workers = default_workers() if workers is None else workers

    def build_evaluator(self, evaluator):
        is_list = isinstance(evaluator, list)
        if is_list or (isinstance(evaluator, dict) and 'metrics' not in evaluator):
            return OneFormerEvaluator(evaluator, workers)
        return kind.build_evaluator(self, evaluator)

    members = dict(build_evaluator=build_evaluator, __module__=kind.__module__)
    return type(kind.__name__, (kind,), members)


def build_runner(cfg: Config, kind: type | None = None, details: bool = False) -> Runner:
    """Build the runner of a config, with a screen that leaves out what only the file needs.

    With ``log_processor.type='LogProcessor'`` the screen shows what mmengine shows.

    Args:
        cfg: Config of a run.
        kind: Class of the runner, by default ``cfg.runner_type``.
        details: Whether to show the start of the run in full, and not where it is written: for a
            run that leaves no files.
    """
    kind = kind or cfg.get('runner_type', 'Runner')
    kind = RUNNERS.get(kind) if isinstance(kind, str) else kind
    if kind is None:
        return RUNNERS.build(cfg)  # which reports the unknown name
    kind = scoring_apart(kind, cfg.get('score_workers'))
    if not _is_readable(cfg):
        return kind.from_cfg(cfg)

    def log_env(self, *args) -> None:  # the first call of a runner that logs
        quieten_screen(self.logger, details)
        kind._log_env(self, *args)
        if not details:
            # name of the file that mmengine writes
            name = osp.basename(self.cfg.filename or f'{self.timestamp}.py')
            self.logger.info(
                f'the config is in {osp.join(self.work_dir, name)}, the log, which begins with the '
                f'environment, in {self.logger.log_file}'
            )

    quiet = type(kind.__name__, (kind,), dict(_log_env=log_env, __module__=kind.__module__))
    return quiet.from_cfg(cfg)
