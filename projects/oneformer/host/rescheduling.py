"""Training that continues under another schedule than that of its checkpoint."""

from collections.abc import Mapping

from mmengine.logging import print_log
from mmengine.optim import _ParamScheduler
from mmengine.runner import Runner

from .rehearsal import Length, Rehearsal, needs_metrics, scheduler_configs
from .schedules import LAYER

_STATE = {'optimizer', 'last_step', '_global_step', '_last_value', 'base_values', 'verbose'}


def _definition(scheduler: _ParamScheduler) -> dict:
    """Definition of a scheduler, as a config states it, without its state."""
    return {
        key: value
        for key, value in vars(scheduler).items()
        if key not in _STATE and not callable(value)
    }


def _kind(group: Mapping) -> tuple[float, bool]:
    """What of a group decides its learning rate: the base rate, and whether it is a backbone's."""
    return group.get('initial_lr', group['lr']), group.get(LAYER) is not None


def _changes(old: dict, new: dict) -> list[str]:
    """Changes of the numbers of a scheduler, in words."""
    changes = [f'{k} was {old[k]} and is {new[k]}' for k in new if k in old and old[k] != new[k]]
    return changes or [f'it was one with {sorted(old)}']


def follow_config(runner: Runner) -> None:
    """Let the learning rate of a resumed training follow the config, if its schedule changed.

    mmengine restores the schedule of the checkpoint, its end included, so a run that was made
    longer would continue at the last learning rate, often 0. Here the rate becomes that of a
    training which had the config's schedule from the start. A schedule that did not change stays
    exactly as it was restored; so do one that follows validation, and those of other values,
    such as the momentum.
    """
    configs = scheduler_configs(runner)
    if configs is None or any(map(needs_metrics, runner.param_schedulers)):
        return
    groups = runner.optim_wrapper.param_groups
    kinds = sorted(set(map(_kind, groups)))
    rates, of_backbone = zip(*kinds)
    rehearsal = Rehearsal(configs, rates, Length.of(runner), of_backbone)
    changes = []
    for ours, new in zip(runner.param_schedulers, rehearsal.schedulers, strict=True):
        old = _definition(ours)
        if old != _definition(new):
            changes.append(f'{type(new).__name__}: {", ".join(_changes(old, _definition(new)))}')
    if not changes:
        return
    before = max(group['lr'] for group in groups)
    for _ in range(runner.iter):
        rehearsal.advance()
    now = dict(zip(kinds, rehearsal.rates, strict=True))
    for group in groups:
        group['lr'] = now[_kind(group)]
    for ours, new in zip(runner.param_schedulers, rehearsal.schedulers, strict=True):
        if new.param_name == 'lr':
            _take_over(ours, new)
    print_log(
        f"the config's schedule is not that of the checkpoint ({'; '.join(changes)}). Training "
        f"goes on with the config's, whose learning rate at iteration {runner.iter + 1} is "
        f'{max(now.values()):g}; it would have been {before:g}',
        'current',
    )


def _take_over(ours: _ParamScheduler, new: _ParamScheduler) -> None:
    """Replace the state of a scheduler by that of another one."""
    kept = dict(optimizer=ours.optimizer, base_values=ours.base_values, verbose=ours.verbose)
    vars(ours).clear()
    vars(ours).update({**vars(new), **kept})
    ours._last_value = [group['lr'] for group in ours.optimizer.param_groups]
