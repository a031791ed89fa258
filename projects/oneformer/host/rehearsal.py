"""A schedule of learning rates, simulated before training or up to where it resumes."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.optim import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import IterBasedTrainLoop, Runner

from .schedules import LAYER


class Length(NamedTuple):
    """Length of a run: iterations, and iterations of an epoch. Iteration loops have one epoch."""

    iterations: int
    epochs: int
    epoch: int  # batches of one pass over the training set
    by_epoch: bool

    @classmethod
    def of(cls, runner: Runner) -> 'Length':
        """The length of a runner's training, whose loop is built."""
        loop = runner.train_loop
        by_epoch = not isinstance(loop, IterBasedTrainLoop)
        return cls(loop.max_iters, loop.max_epochs, len(runner.train_dataloader), by_epoch)

    def end(self, by_epoch: bool) -> tuple[int, str]:
        """The length in epochs or iterations, and their unit."""
        return (self.epochs, 'epoch') if by_epoch else (self.iterations, 'iteration')


def scheduler_configs(runner: Runner) -> list[dict] | None:
    """Configs of the schedulers of a runner with one optimizer; None if unknown."""
    configs = runner.cfg.get('param_scheduler')
    if isinstance(configs, dict):
        configs = [configs]
    built = runner.param_schedulers
    if not configs or not isinstance(built, list) or len(built) != len(configs):
        return None
    if not all(isinstance(config, dict) and 'type' in config for config in configs):
        return None
    return list(configs)


class Rehearsal:
    """Schedulers as a runner builds them, on an optimizer without a model.

    Args:
        configs: Configs of the schedulers, see ``scheduler_configs``.
        rates: Learning rates of the optimizer's groups before any schedule.
        length: Length of the run.
        of_backbone: Whether each group is of the backbone, by default none is.
    """

    def __init__(
        self,
        configs: Sequence[dict],
        rates: Sequence[float],
        length: Length,
        of_backbone: Sequence[bool] | None = None,
    ) -> None:
        layers = [0 if there else None for there in of_backbone or [False] * len(rates)]
        groups = [
            {'params': [torch.nn.Parameter(torch.zeros(1))], 'lr': rate, LAYER: layer}
            for rate, layer in zip(rates, layers)
        ]
        self.optimizer, self.length, self.done = torch.optim.AdamW(groups), length, 0
        self.schedulers = []
        for config in configs:
            config = copy.deepcopy(dict(config))
            config.pop('verbose', None)
            config.setdefault('end', length.end(config.get('by_epoch', True))[0])
            arguments = dict(optimizer=self.optimizer, epoch_length=length.epoch)
            self.schedulers.append(PARAM_SCHEDULERS.build(config, default_args=arguments))
        self.optimizer._global_step = 0  # or they warn that it has made no step

    @property
    def rates(self) -> list[float]:
        """Learning rates of the groups at the next iteration."""
        return [group['lr'] for group in self.optimizer.param_groups]

    def advance(self) -> None:
        """Advance by one iteration."""
        self.done += 1
        ended = self.length.by_epoch and self.done % self.length.epoch == 0
        for counts_epochs in (False, True) if ended else (False,):
            for scheduler in self.schedulers:
                if scheduler.by_epoch == counts_epochs and not needs_metrics(scheduler):
                    scheduler.step()


def needs_metrics(scheduler: _ParamScheduler) -> bool:
    """Whether a scheduler follows the scores of validation, which are not known in advance."""
    return getattr(scheduler, 'need_val_args', False)
