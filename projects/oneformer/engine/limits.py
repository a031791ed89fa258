"""Tell of images with more objects than a run can learn, predict or score."""

from collections.abc import Iterator
from dataclasses import replace

from mmengine.runner import Runner
from torch.utils.data import Dataset

from ..datasets.base import SegmentDataset
from ..evaluation.instance_ap import InstanceAP
from ..object_limits import Limits, limit_notes
from .runner_state import bare_model


def _leaves(dataset: Dataset) -> Iterator[SegmentDataset]:
    """The sets that a set is joined or wrapped from, or the set itself."""
    if isinstance(dataset, SegmentDataset):
        yield dataset
    for part in getattr(dataset, 'datasets', ()):
        yield from _leaves(part)
    if isinstance(inner := getattr(dataset, 'dataset', None), Dataset):
        yield from _leaves(inner)


def model_limits(runner: Runner) -> Limits:
    """The limits of a run's model, None where it is of another kind."""
    model = bare_model(runner)
    head, mapper = getattr(model, 'panoptic_head', None), getattr(model, 'text_mapper', None)
    return Limits(
        getattr(head, 'num_queries', None),
        None if mapper is None else mapper.prompt_ctx.num_embeddings,
        (getattr(model, 'test_cfg', None) or {}).get('max_per_image'),
    )


def warn_of_limits(runner: Runner, dataset: Dataset, limits: Limits) -> None:
    """Log the limits that are in the way of a data set; costs nothing but the lines."""
    for leaf in _leaves(dataset):
        for note in limit_notes(limits, leaf.peaks, leaf.metainfo['classes']):
            runner.logger.warning(f'{leaf.ann_file}: {note}')


def warn_of_training_limits(runner: Runner) -> None:
    """``warn_of_limits`` for the set that is trained on."""
    limits = replace(model_limits(runner), max_per_image=None)
    warn_of_limits(runner, runner.train_dataloader.dataset, limits)


def warn_of_scoring_limits(runner: Runner, loop) -> None:
    """``warn_of_limits`` for a set that is validated or tested on.

    Args:
        runner: Of the run.
        loop: Of validation or test, with ``dataloader`` and ``evaluator``.
    """
    metrics = [m for m in loop.evaluator.metrics if isinstance(m, InstanceAP)]
    limits, max_dets = model_limits(runner), min((m.max_dets for m in metrics), default=None)
    if limits.queries is not None and limits.max_per_image == limits.queries:
        limits = replace(limits, max_per_image=None)  # one limit, told of once
    if not metrics:
        limits = replace(limits, max_per_image=None)
    limits = replace(limits, max_dets=max_dets, context=None)
    warn_of_limits(runner, loop.dataloader.dataset, limits)
