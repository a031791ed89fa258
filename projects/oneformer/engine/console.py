"""A run's start in ten lines on the screen; its log file has everything.

mmengine logs the environment, the whole config and the order of the hooks, some 700 lines, before
it says anything of the training.
"""

import logging
import os.path as osp

from mmdet.registry import LOG_PROCESSORS, RUNNERS
from mmengine.config import Config
from mmengine.runner import Runner

from .log_lines import ReadableLog

# what mmengine logs that nobody looks for on the screen, by its beginning
_FILE_ONLY = (
    f'\n{"-" * 60}\nSystem environment:',
    'Config:\n',
    'Hooks will be executed in the following order:',
    'Distributed training is not used, all SyncBatchNorm',
    'Checkpoints will be saved to ',
    'Exp name: ',
    # of its own calls
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)
# what each validation says of its data, and the screen once
_ONCE = (' have no ground truth and are nan', ' is nan: ', ' are nan: ')
DETAIL = dict(detail=True)  # ``extra`` of a record that the screen does without


class _Screen(logging.Filter):
    """Lets through what belongs on the screen.

    Args:
        details: Also what is marked by ``DETAIL``.
    """

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
    """Keep from the screen what only the log file is read for.

    Args:
        logger: Of a run. Its handlers of files stay as they are.
        details: Keep the less important facts of the start on the screen.
    """
    for handler in logger.handlers:
        is_screen = type(handler) is logging.StreamHandler  # files have kinds of their own
        if is_screen and not any(isinstance(f, _Screen) for f in handler.filters):
            handler.addFilter(_Screen(details))


def _is_readable(cfg: Config) -> bool:
    """Whether a run has lines of ``ReadableLog``; mmengine's come with mmengine's start."""
    kind = (cfg.get('log_processor') or {}).get('type', 'LogProcessor')
    kind = LOG_PROCESSORS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, ReadableLog)


def build_runner(cfg: Config, kind: type | None = None, details: bool = False) -> Runner:
    """Build the runner of a config, of which the screen shows no more than is read there.

    With ``log_processor.type='LogProcessor'`` the screen shows what mmengine shows.

    Args:
        cfg: Of a run.
        kind: Of the runner, by default ``cfg.runner_type``.
        details: Show what the run starts with in full, and not where that is written: for a run
            that leaves nothing.
    """
    kind = kind or cfg.get('runner_type', 'Runner')
    kind = RUNNERS.get(kind) if isinstance(kind, str) else kind
    if kind is None:
        return RUNNERS.build(cfg)  # which tells the name that it does not know
    if not _is_readable(cfg):
        return kind.from_cfg(cfg)

    def log_env(self, *args) -> None:  # the first that a runner logs
        quieten_screen(self.logger, details)
        kind._log_env(self, *args)
        if not details:
            # as mmengine names it
            name = osp.basename(self.cfg.filename or f'{self.timestamp}.py')
            self.logger.info(
                f'the config is in {osp.join(self.work_dir, name)}, the log, which begins with the '
                f'environment, in {self.logger.log_file}'
            )

    quiet = type(kind.__name__, (kind,), dict(_log_env=log_env, __module__=kind.__module__))
    return quiet.from_cfg(cfg)
