"""The plan of a run: its length, its image sizes, and when it validates and saves."""

import bisect
from collections.abc import Iterable, Iterator, Sequence

from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from .rehearsal import Length
from .runner_state import bare_model


def count(number: int, noun: str, ending: str = 's') -> str:
    """``1 image``, ``2 images``."""
    return f'{number} {noun}{"" if number == 1 else ending}'


def _pair(size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _size_of(transform) -> str | None:
    """Effect of a transform on an image's size, in words."""
    name = type(transform).__name__
    if name == 'ResizeShortEdge':
        edges = sorted({min(transform.short_edges), max(transform.short_edges)})
        return f'short edge {" to ".join(map(str, edges))}, long edge up to {transform.max_size}'
    if name in ('RandomCrop', 'Resize', 'Pad', 'LargeScaleJitter'):
        size = getattr(transform, 'crop_size', None) or getattr(transform, 'scale', None)
        size = size or getattr(transform, 'size', None)
        if size is None:
            return None
        width, height = _pair(size)
        words = dict(RandomCrop='crop to', Resize='resize to', Pad='pad to')
        return f'{words.get(name, "scale and crop to")} {width} x {height}'
    return None


def _pipelines(dataset) -> Iterator[Sequence]:
    """Built transforms of a dataset, or of each that it joins."""
    for part in getattr(dataset, 'datasets', None) or [dataset]:
        while not hasattr(part, 'pipeline') and hasattr(part, 'dataset'):
            part = part.dataset
        yield getattr(getattr(part, 'pipeline', None), 'transforms', ())


def describe_sizes(dataset) -> str:
    """Sizes, as (width x height), that the transforms of a dataset make."""
    found = [', '.join(filter(None, map(_size_of, steps))) for steps in _pipelines(dataset)]
    return '; '.join(dict.fromkeys(filter(None, found))) or 'as the pipeline says'


def _moments(moments: Sequence[int], unit: str) -> str:
    """Iterations or epochs of an event, listed in full if the list is short."""
    if not moments:
        return 'none'
    places = list(map(str, moments))
    if len(places) > 4:
        places = [*places[:2], '...', places[-1]]
    listed = ', '.join(places)
    return f'{len(moments)}, after {unit if len(moments) == 1 else unit + "s"} {listed}'


def _validations(runner: Runner) -> tuple[list[int], str]:
    """Moments of the validations to come, and their unit."""
    loop, length = runner.train_loop, Length.of(runner)
    end, unit = length.end(length.by_epoch)
    done = runner.epoch if length.by_epoch else runner.iter
    steps, intervals = loop.dynamic_milestones, loop.dynamic_intervals
    moments = [
        i
        for i in range(max(done + 1, loop.val_begin), end + 1)
        if i == end or i % intervals[bisect.bisect(steps, i + 1) - 1] == 0
    ]
    return moments, unit


def describe_validation(runner: Runner) -> str:
    """Number, moments and images of the validations to come."""
    if runner.val_loop is None:
        return 'none'
    moments, unit = _validations(runner)
    images = count(len(runner.val_loop.dataloader.dataset), 'image')
    return f'{_moments(moments, unit)}, on {images}' if moments else 'none in this run'


def describe_checkpoints(runner: Runner) -> str:
    """Number and moments of the checkpoints to come, and which are kept."""
    hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
    if hook is None:
        return 'none'
    end, unit = Length.of(runner).end(hook.by_epoch)  # a loop over iterations is one epoch
    done = runner.epoch if hook.by_epoch else runner.iter
    interval, begin = hook.interval, hook.save_begin
    moments = [
        i
        for i in range(done + 1, end + 1)
        if (hook.save_last and i == end)
        or (interval > 0 and i >= begin and (i - begin) % interval == 0)
    ]
    kept = f'; the last {hook.max_keep_ckpts} are kept' if hook.max_keep_ckpts > 0 else ''
    if hook.save_best and runner.val_loop is not None:
        best = hook.save_best if isinstance(hook.save_best, str) else ', '.join(hook.save_best)
        kept += f'{"," if kept else ";"} and the best (save_best: {best})'
    return _moments(moments, unit) + kept


def describe_length(length: Length, images: int, batch: int, done: int) -> str:
    """Length of a run, in iterations and in passes over the training set.

    Args:
        length: Length of the run.
        images: Number of images of the training set.
        batch: Images of an iteration of all processes.
        done: Iterations that a resumed run has done before.
    """
    if length.by_epoch:
        told = f'{count(length.epochs, "epoch")} of {count(length.epoch, "iteration")} = '
        told += count(length.iterations, 'iteration')
    else:
        epochs = length.iterations * batch / images
        told = f'{count(length.iterations, "iteration")} = {epochs:.3g} epochs'
    if done >= length.iterations:
        told += f'; {done} are done, so nothing is left. Raise train_cfg.max_iters to go on'
    elif done:
        told += f'; goes on at iteration {done + 1} of {length.iterations}'
    return told


def plan_facts(runner: Runner, batch: int) -> dict[str, str]:
    """Facts of the plan, for the banner; ``batch`` is images of an iteration of all processes."""
    dataset, length = runner.train_dataloader.dataset, Length.of(runner)
    facts = {
        'training set': count(len(dataset), 'image'),
        'length': describe_length(length, len(dataset), batch, runner.iter),
        'training size': describe_sizes(dataset),
    }
    if runner.val_loop is not None:
        facts['test size'] = describe_sizes(runner.val_loop.dataloader.dataset)
    queries = getattr(getattr(bare_model(runner), 'panoptic_head', None), 'num_queries', None)
    if queries is not None:
        facts['queries'] = str(queries)
    facts['validations'] = describe_validation(runner)
    facts['checkpoints'] = describe_checkpoints(runner)
    return facts


def _samplers(loader) -> Iterable:
    sampler = loader.batch_sampler.sampler
    while sampler is not None:
        yield sampler
        sampler = getattr(sampler, 'sampler', None)


def check_epochs(runner: Runner) -> list[str]:
    """Look for mix-ups of epochs and iterations.

    Returns:
        Sentences about settings that are rarely meant, each with a remedy.

    Raises:
        SystemExit: If an epoch would never end.
    """
    length, loader = Length.of(runner), runner.train_dataloader
    warnings: list[str] = []
    samplers = list(_samplers(loader))
    infinite = [s for s in samplers if isinstance(s, InfiniteSampler)]
    if length.by_epoch and infinite:
        raise SystemExit(
            f'train_cfg counts epochs, and {type(infinite[0]).__name__} never ends one, so that '
            'neither validation nor the end would come. Set '
            "train_dataloader.sampler=dict(type='DefaultSampler', shuffle=True)"
        )
    if length.by_epoch:
        return warnings
    passes = length.iterations // length.epoch
    if not infinite and type(samplers[-1]).__name__ == 'DefaultSampler' and passes:
        warnings.append(
            'train_dataloader.sampler is a DefaultSampler, and the training loop counts '
            f'iterations: the loader starts anew, and mmengine waits 2 s, after each of {passes} '
            "passes over the set. Set train_dataloader.sampler=dict(type='InfiniteSampler', "
            'shuffle=True)'
        )
    hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
    if hook is not None and hook.by_epoch:
        warnings.append(
            'default_hooks.checkpoint counts epochs (by_epoch=True), and the training loop '
            'iterations: there is one checkpoint, at the end. Set by_epoch=False and an interval '
            'in iterations'
        )
    if runner.log_processor.by_epoch:
        warnings.append(
            'log_processor counts epochs (by_epoch=True), and the training loop iterations: set '
            'log_processor.by_epoch=False, or the log numbers them as of one epoch'
        )
    return warnings
