"""Exponential moving average of the weights, which validation and prediction use.

mmengine's ``EMAHook`` also updates in iterations that make no step (accumulated gradients, skipped
steps), keeps and averages a second copy of what is frozen, and cannot resume under
``FlexibleRunner``, which loads before the hook has its model. The layout of its checkpoints is
kept: ``state_dict`` has the averages, ``ema_state_dict`` the raw weights.
"""

import logging
from collections.abc import Mapping, MutableMapping

import torch
from mmdet.registry import HOOKS
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn

from .errors import CheckpointError, first_lines
from .runner_state import bare_model
from .sharding import is_sharded

_KEY, _RAW, _COUNTER = 'ema_state_dict', 'module.', 'steps'
_STRATEGIES = ('SingleDeviceStrategy', 'DDPStrategy')  # each process has the whole model


def updates_of(checkpoint: Mapping) -> int | None:
    """Number of updates of the averages in a checkpoint; None if its weights are not averages.

    Raises:
        CheckpointError: If the averages have no counter.
    """
    kept = checkpoint.get(_KEY)
    if not isinstance(kept, Mapping):
        return None
    counter = kept.get(_COUNTER)
    if not isinstance(counter, Tensor | int) or (
        isinstance(counter, Tensor) and (counter.numel() != 1 or counter.is_floating_point())
    ):
        raise CheckpointError(
            f'{_KEY}.{_COUNTER} of the checkpoint is {counter!r}, not the number of updates of its '
            'averages'
        )
    return int(counter)


def restore_raw_weights(checkpoint: MutableMapping) -> dict[str, Tensor]:
    """Put the raw weights of a checkpoint back into its ``state_dict``; returns the averages.

    Raises:
        CheckpointError: If raw weights are not of this model.
    """
    state, averages, wrong = checkpoint['state_dict'], {}, []
    for key, raw in checkpoint[_KEY].items():
        name = key.removeprefix(_RAW)
        if name == key:
            continue
        if not isinstance(raw, Tensor) or name not in state or state[name].shape != raw.shape:
            wrong.append(name)
            continue
        averages[name], state[name] = state[name], raw
    if wrong:
        listed = ', '.join(first_lines(wrong))
        raise CheckpointError(f'{_KEY} of the checkpoint is of another model: {listed}')
    return averages


def averages_weights(hook: Hook) -> bool:
    """Whether a hook keeps averages, ours or mmengine's."""
    return isinstance(hook, AveragedWeights | EMAHook)


def leave_averages(runner: Runner, checkpoint: MutableMapping) -> None:
    """Let training that goes on without averaging have the raw weights, and say so."""
    if updates_of(checkpoint) is None or any(map(averages_weights, runner.hooks)):
        return
    restore_raw_weights(checkpoint)
    print_log(
        f'{runner._load_from} has averaged weights, and no hook of the config averages: training '
        'goes on with the raw weights, and the averages end here. To go on with both, add '
        "custom_hooks=[dict(type='AveragedWeights')]",
        'current',
        logging.WARNING,
    )


def refuse_parts(runner: Runner, model: nn.Module) -> None:
    """Raise a ValueError if this process lacks parts of the model, or it has too few bits."""
    strategy = type(getattr(runner, 'strategy', None)).__name__
    parts = any(is_sharded(parameter) for parameter in model.parameters())
    if parts or strategy not in (*_STRATEGIES, 'NoneType'):
        cause = 'its wrapper' if strategy == 'NoneType' else strategy
        raise ValueError(
            f'AveragedWeights needs the whole model in each process, and {cause} spreads it. Take '
            'AveragedWeights out of custom_hooks, or train without the strategy'
        )
    others = [hook for hook in runner.hooks if averages_weights(hook)]
    if len(others) > 1:
        raise ValueError(
            f'{" and ".join(type(hook).__name__ for hook in others)} both average the weights: '
            'leave one in custom_hooks'
        )
    small = [n for n, p in model.named_parameters() if p.requires_grad and p.element_size() < 4]
    if small:
        raise ValueError(
            f'AveragedWeights: {small[0]} and {len(small) - 1} other parameters have less than 32 '
            'bits, in which an average cannot follow. Train in mixed precision (--amp), which '
            'keeps float32 parameters'
        )


@HOOKS.register_module()
class AveragedWeights(Hook):
    """Averages the trained parameters of any model, for ``custom_hooks``.

    After update k = 1, 2, ... of the optimizer the average a of a parameter p becomes
    a + m * (p - a), where m is the larger of ``momentum`` and ``warmup / (warmup + k - 1)``: the
    first update copies, and the average looks back over a growing part of the training. Updates
    that ``FiniteSteps`` skips, and iterations between updates, do not count. Buffers, such as
    running statistics and mask probabilities, are those of the model and not averaged; frozen
    parameters need no average.

    Validation, the test of the same run and checkpoints have the averages in the model's place.
    Checkpoints also hold raw weights and the number of updates, and resumed training goes on to the
    bit. Training that starts from such a file (``load_from``) starts from its averages, and
    averages anew.

    Args:
        momentum: Share of the newest weights, above 0 and below 1.
        warmup: Updates, about, over which the share comes down from 1; 0 for none, with which the
            average starts from the weights before training.

    Raises:
        ValueError: For other numbers; before training, if the model is spread over processes, if
            another hook averages, too, or if parameters have less than 32 bits.
        CheckpointError: If training resumes from averages of other parameters.
    """

    priority = 'NORMAL'  # after ReuseWeights, and before checkpoints are written

    def __init__(self, momentum: float = 0.0002, warmup: float = 10) -> None:
        if not (0 < momentum < 1 and warmup >= 0):
            raise ValueError(
                f'AveragedWeights has momentum={momentum} and warmup={warmup}: it takes a share '
                'between 0 and 1, which is small, and a number from 0'
            )
        self.momentum, self.warmup = momentum, warmup
        self.updates = 0
        self.parameters: dict[str, nn.Parameter] = {}
        self.averages: list[Tensor] = []
        self.is_swapped = False  # whether the model has the averages
        self._resumed: dict[str, Tensor] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: MutableMapping) -> None:
        """Restore raw weights, averages and counter of a run that goes on."""
        if not runner._resume:
            return
        updates = updates_of(checkpoint)
        if updates is None:
            print_log(
                f'{runner._load_from} has no averaged weights: averaging begins with this run',
                'current',
                logging.WARNING,
            )
            return
        self.updates, self._resumed = updates, restore_raw_weights(checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Begin with the weights that training starts from, or the averages it goes on with."""
        model = bare_model(runner)
        refuse_parts(runner, model)
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        start: Mapping[str, Tensor] = self.parameters
        if self._resumed is not None:
            start, self._resumed = self._resumed, None
        if lost := [name for name in self.parameters if name not in start]:
            raise CheckpointError(
                f'{runner._load_from} has no averages of {len(lost)} parameters that are trained '
                f'now, such as {lost[0]}: start from its weights, by load_from without --resume'
            )
        self.averages = [
            start[name].detach().to(parameter.device, copy=True)
            for name, parameter in self.parameters.items()
        ]
        size = sum(average.numel() * average.element_size() for average in self.averages)
        print_log(
            f'averaged weights: {len(self.averages)} tensors, {size / 2**20:.0f} MiB, after '
            f'{self.updates} updates. Validation and predictions use them',
            'current',
        )

    def share(self, update: int) -> float:
        """Share of the newest weights in an update, which count from 1."""
        if not self.warmup:
            return self.momentum
        return max(self.momentum, self.warmup / (self.warmup + update - 1))

    @torch.no_grad()
    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Update the averages if the optimizer has made a step."""
        is_skipped = outputs is not None and not outputs  # FiniteSteps has emptied them
        if is_skipped or not runner.optim_wrapper.should_update():
            return
        self.updates += 1
        torch._foreach_lerp_(
            self.averages,
            [parameter.detach() for parameter in self.parameters.values()],
            self.share(self.updates),
        )

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange the values of model and averages."""
        for parameter, average in zip(self.parameters.values(), self.averages):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)
        self.is_swapped = not self.is_swapped

    def before_val_epoch(self, runner: Runner) -> None:
        """Let the model have the averages."""
        self._swap()

    def after_val_epoch(self, runner: Runner, metrics=None) -> None:
        """Let the model have its raw weights."""
        self._swap()

    def before_test_epoch(self, runner: Runner) -> None:
        """Let the model have the averages; one that was not trained here has none."""
        self._swap()

    def after_test_epoch(self, runner: Runner, metrics=None) -> None:
        """Let the model have its raw weights."""
        self._swap()

    def before_save_checkpoint(self, runner: Runner, checkpoint: MutableMapping) -> None:
        """Put the averages in place of the weights, and those beside them."""
        if not self.averages:
            return
        state = checkpoint['state_dict']
        if lost := [name for name in self.parameters if name not in state]:
            raise ValueError(f'AveragedWeights: the checkpoint lacks the trained {lost[0]}')
        # what is not averaged stands in both, of which the file holds one
        kept = {_COUNTER: torch.tensor(self.updates)}
        kept.update({_RAW + name: value for name, value in state.items()})
        for name, average in zip(self.parameters, self.averages):
            if self.is_swapped:
                kept[_RAW + name] = average.cpu()
            else:
                state[name] = average.cpu()
        checkpoint[_KEY] = kept
