"""Schedules that do not fit the length of the run, found before the first step."""

from collections.abc import Sequence

from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.param_scheduler import INF, PolyParamScheduler
from mmengine.runner import Runner

from .rehearsal import Length, Rehearsal, needs_metrics, scheduler_configs

_ZERO = 1e-9  # share of the highest rate
_FOLLOW = "leave its end out, and it follows the run, as type='WholeRunPolyLR' does exactly"


def _name(scheduler: _ParamScheduler) -> str:
    return type(scheduler).__name__


def _last(scheduler: _ParamScheduler) -> tuple[int, str] | None:
    """Where a scheduler ends, in its unit, and the option that sets it; None if nowhere."""
    begin = scheduler.begin
    for option in ('T_max', 'total_steps'):
        if hasattr(scheduler, option):
            return begin + getattr(scheduler, option), option
    if hasattr(scheduler, 'periods'):
        return begin + sum(scheduler.periods), 'periods'
    if hasattr(scheduler, 'milestones') or hasattr(scheduler, 'step_size'):
        return None  # see _unreached
    return (scheduler.end, 'end') if scheduler.end < INF else None


def _unreached(scheduler: _ParamScheduler, end: int, unit: str) -> str | None:
    """Sentence about steps of a scheduler that the run, which ends there, does not reach."""
    end, begin = min(end, scheduler.end), scheduler.begin
    late = sorted(step for step in getattr(scheduler, 'milestones', ()) if begin + step >= end)
    if late:
        return (
            f'{_name(scheduler)} has milestones={late}, which are not reached: it or the run ends '
            f'at {unit} {end}. Set milestones below that'
        )
    if begin + getattr(scheduler, 'step_size', 0) >= end and hasattr(scheduler, 'step_size'):
        return (
            f'{_name(scheduler)} has step_size={scheduler.step_size}, and it or the run ends at '
            f'{unit} {end}, so that the learning rate never steps down. Set a smaller step_size'
        )
    return None


def _of_one(scheduler: _ParamScheduler, length: Length, final: float) -> list[str]:
    """Sentences about a single scheduler, without regard to the others."""
    if scheduler.by_epoch and not length.by_epoch:
        return [
            f'{_name(scheduler)} counts epochs (by_epoch=True, the default), and the training loop '
            'counts iterations: it never steps. Add by_epoch=False, with numbers in iterations, '
            'or convert_to_iter_based=True'
        ]
    if scheduler.param_name != 'lr' or needs_metrics(scheduler):
        return []
    end, unit = length.end(scheduler.by_epoch)
    if unreached := _unreached(scheduler, end, unit):
        return [unreached]
    last = _last(scheduler)
    if last is None or last[0] <= end + 1:
        return []
    remedy = _FOLLOW if last[1] == 'end' else f'set {last[1]} for {end} {unit}s'
    return [
        f'{_name(scheduler)} goes on to {unit} {last[0]} ({last[1]}), and the run ends at {end}: '
        f'the learning rate of the last iteration is still {final:g}. To end with the run {remedy}'
    ]


def _of_the_end(
    schedulers: Sequence[_ParamScheduler], rates: Sequence[float], length: Length
) -> str | None:
    """Sentence about the last learning rates."""
    total, highest = length.iterations, max(rates)
    zeros = next((i for i, r in enumerate(reversed(rates)) if r > _ZERO * highest), total)
    if zeros > 1 or zeros == total:
        return (
            f'the learning rate is 0 from iteration {total - zeros + 1} of {total} on, so nothing '
            f'is learned there. {_remedy(schedulers, length)}'
        )
    active = [s for s in schedulers if s.by_epoch <= length.by_epoch and s.param_name == 'lr']
    ends = [s.end * (length.epoch if s.by_epoch else 1) for s in active]
    if ends and max(ends) < total and rates[-1] < 0.999 * highest:
        return (
            f'the schedule ends at iteration {max(ends)} of {total}: the learning rate stays at '
            f'{rates[-1]:g} from there on. {_remedy(schedulers, length)}'
        )
    return None


def _remedy(schedulers: Sequence[_ParamScheduler], length: Length) -> str:
    for scheduler in schedulers:
        end, _ = length.end(scheduler.by_epoch)
        if isinstance(scheduler, PolyParamScheduler) and scheduler.end == end:
            return f"mmengine's {_name(scheduler)} is at 0 a step before its end: set end={end + 1}"
    ends = ', '.join(f'{_name(s)} with end={s.end}' for s in schedulers if s.end < INF)
    return (
        f'The schedule is {ends or "of your own"}: set its end for the length of the run, or '
        f'{_FOLLOW}'
    )


def examine_schedule(runner: Runner, base: float) -> tuple[list[float], list[str]]:
    """Simulate the schedule of a run.

    Args:
        runner: Runner before its training.
        base: The highest learning rate of the optimizer's groups before any schedule.

    Returns:
        The learning rate of each iteration of the run, empty if it is not known in advance; and
        what does not fit the length of the run, a sentence with a remedy each.
    """
    length = Length.of(runner)
    if not runner.param_schedulers:
        return [base] * length.iterations, []
    configs = scheduler_configs(runner)
    if configs is None:
        return [], []
    rehearsal, rates, warnings = Rehearsal(configs, [base], length), [], []
    try:
        for _ in range(length.iterations):
            rates += rehearsal.rates
            rehearsal.advance()
    except ValueError as error:  # from OneCycleLR, after its last step
        warnings.append(f'training will stop at iteration {len(rates)}: {error}')
    schedulers = rehearsal.schedulers
    for scheduler in schedulers:
        warnings += _of_one(scheduler, length, rates[-1])
    if at_the_end := _of_the_end(schedulers, rates, length):
        warnings.append(at_the_end)
    return ([] if any(map(needs_metrics, schedulers)) else rates), warnings
