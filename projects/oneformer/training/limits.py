"""Warn of images with more objects than a run can learn, predict or score."""

from collections.abc import Iterator
from dataclasses import replace

from mmengine.runner import Runner
from torch.utils.data import Dataset

from ..datasets.base import SegmentDataset
from ..evaluation.instance_ap import InstanceAP
from ..host.runner_state import bare_model
from ..object_limits import Limits, limit_notes


def _leaves(dataset: Dataset) -> Iterator[SegmentDataset]:
    """The datasets that a dataset is joined or wrapped from, or the dataset itself."""
    if isinstance(dataset, SegmentDataset):
        yield dataset
    for part in getattr(dataset, 'datasets', ()):
        yield from _leaves(part)
    if isinstance(inner := getattr(dataset, 'dataset', None), Dataset):
        yield from _leaves(inner)


def model_limits(runner: Runner) -> Limits:
    """The limits of a run's model, None where the model has no such setting."""
    model = bare_model(runner)
    head, mapper = getattr(model, 'panoptic_head', None), getattr(model, 'text_mapper', None)
    return Limits(
        getattr(head, 'num_queries', None),
        None if mapper is None else mapper.context.num_embeddings,
        (getattr(model, 'test_cfg', None) or {}).get('max_per_image'),
    )


def warn_of_limits(runner: Runner, dataset: Dataset, limits: Limits) -> None:
    """Log the limits that are lower than a peak of a dataset."""
    for leaf in _leaves(dataset):
        for note in limit_notes(limits, leaf.peaks, leaf.metainfo['classes']):
            runner.logger.warning(f'{leaf.ann_file}: {note}')


def warn_of_training_limits(runner: Runner) -> None:
    """``warn_of_limits`` for the training dataset."""
    limits = replace(model_limits(runner), max_per_image=None)
    warn_of_limits(runner, runner.train_dataloader.dataset, limits)


def warn_of_scoring_limits(runner: Runner, loop) -> None:
    """``warn_of_limits`` for the dataset of a loop of validation or test."""
    metrics = [m for m in loop.evaluator.metrics if isinstance(m, InstanceAP)]
    limits, max_dets = model_limits(runner), min((m.max_dets for m in metrics), default=None)
    if limits.queries is not None and limits.max_per_image == limits.queries:
        limits = replace(limits, max_per_image=None)  # one limit, logged once
    if not metrics:
        limits = replace(limits, max_per_image=None)
    limits = replace(limits, max_dets=max_dets, context=None)
    warn_of_limits(runner, loop.dataloader.dataset, limits)
