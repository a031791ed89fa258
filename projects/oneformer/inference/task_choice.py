"""Tasks to predict: those that the user asks for, or those of the model's config."""

import logging
from collections.abc import Iterable, Sequence

from mmengine.logging import print_log

from ..panoptic_codes import check_codes
from ..tasks import TASKS, check_task


def check_tasks(tasks: str | Sequence[str]) -> tuple[str, ...]:
    """One or several task words as a tuple without repetition; ValueError for other words."""
    tasks = [tasks] if isinstance(tasks, str) else tasks
    if not isinstance(tasks, Iterable) or not tasks:
        raise ValueError(f'no task: name one or more of {", ".join(TASKS)}')
    return tuple(dict.fromkeys(map(check_task, tasks)))


def choose_tasks(
    asked: str | Sequence[str] | None, configured: Sequence[str], num_classes: int
) -> tuple[str, ...]:
    """The tasks to predict; where they are not all three or not the config's, that is logged.

    Args:
        asked: Task words that the user gives, None for those of the config.
        configured: ``model.test_cfg.tasks``.
        num_classes: Number of classes of the model.

    Raises:
        ValueError: If a word is not a task, or panoptic predictions would have too many classes.
    """
    chosen = tuple(configured) if asked is None else check_tasks(asked)
    names = ', '.join(configured)
    others = ', '.join(task for task in chosen if task not in configured)
    if asked is None and set(chosen) != set(TASKS):
        print_log(
            f'tasks: {names}, as model.test_cfg.tasks of its config says; name others (tasks, '
            '--tasks) if it was trained for them',
            logger='current',
        )
    if others:
        print_log(
            f'tasks: {others} is asked for, but model.test_cfg.tasks of its config has only '
            f'{names}: it may not have been trained for that',
            logger='current',
            level=logging.WARNING,
        )
    if 'panoptic' in chosen:
        check_codes(num_classes)
    return chosen
