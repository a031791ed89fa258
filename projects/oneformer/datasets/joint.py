"""Several datasets, of different kinds of labels and classes, in one training run."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmengine.dataset import ConcatDataset, InfiniteSampler

from ..host.seeding import SeededSamples
from ..tasks import check_task
from .base import SegmentDataset
from .written_ids import WRITTEN, join_numbers


@DATASETS.register_module()
class JointDataset(SeededSamples, ConcatDataset):
    """Datasets that share the classes of one model, for training.

    Each dataset has a pipeline and annotations of its own; their ``metainfo`` must name the same
    classes and things. ``JointSampler`` draws from it.

    Args:
        datasets: The datasets, or their configs.
        weights: Dict for each dataset from task word to the weight of this (dataset, task) pair. A
            dataset is drawn by the sum of its weights, then one of its images in turn, then the
            task. By default each image counts once and its tasks share it evenly.

    Raises:
        ValueError: If the datasets differ in their classes, if there are not as many weights as
            datasets, if the labels of a dataset cannot teach a weighted task, if weights are
            negative or all zero, or if samples come from another sampler, which would not follow
            the weights.
    """

    def __init__(
        self,
        datasets: Sequence[Mapping | SegmentDataset],
        weights: Sequence[Mapping[str, float]] | None = None,
    ) -> None:
        self.needs_sampler = weights is not None
        # mmengine would look types up in its own registry
        datasets = [DATASETS.build(d) if isinstance(d, Mapping) else d for d in datasets]
        for number, dataset in enumerate(datasets):
            for key in ('classes', 'thing_classes'):
                if dataset.metainfo[key] != datasets[0].metainfo[key]:
                    raise ValueError(
                        f'JointDataset: datasets[{number}] and datasets[0] differ in '
                        f'metainfo.{key}. Give all sets the classes of the model; what a set calls '
                        'otherwise goes to its metainfo.aliases'
                    )
        super().__init__(datasets, ignore_keys=['palette', 'aliases', *WRITTEN])
        sets = [
            f'datasets[{n}] ({d.ann_file or type(d).__name__})' for n, d in enumerate(self.datasets)
        ]
        numbers = join_numbers([dataset.metainfo for dataset in self.datasets], sets)
        self._metainfo = {**self._metainfo, **numbers}
        if weights is None:
            weights = [
                dict.fromkeys(dataset.tasks, len(dataset) / len(dataset.tasks))
                for dataset in self.datasets
            ]
        if len(weights) != len(self.datasets):
            raise ValueError(
                f'JointDataset has {len(self.datasets)} datasets, but {len(weights)} weights'
            )
        for number, (dataset, weight) in enumerate(zip(self.datasets, weights)):
            cannot = [task for task in map(check_task, weight) if task not in dataset.tasks]
            if cannot:
                raise ValueError(
                    f'JointDataset: weights[{number}] names {cannot}, but the labels of a '
                    f'{type(dataset).__name__} teach only {list(dataset.tasks)}'
                )
            dataset.task_weights = dict(weight)
            if min(weight.values(), default=0) < 0 or sum(weight.values()) == 0:
                raise ValueError(
                    f'JointDataset: weights[{number}] is {weight}, but a set needs weights that '
                    'are not negative and not all zero: correct it, or take the set out'
                )
        self.set_weights = torch.tensor([float(sum(weight.values())) for weight in weights])

    def __getitem__(self, idx: int) -> dict:
        """The sample ``idx``, counted through all datasets."""
        if self.needs_sampler:
            raise ValueError(
                'JointDataset has weights, which only JointSampler follows: set '
                "sampler=dict(_delete_=True, type='JointSampler') in the dataloader"
            )
        return super().__getitem__(idx)


@DATA_SAMPLERS.register_module()
class JointSampler(InfiniteSampler):
    """Draw a dataset by its weight, then its next image in an order that is shuffled each time.

    So every image of a dataset is seen equally often, whatever the weights. All processes share
    one random stream, of which each takes its part.

    Args:
        dataset: A ``JointDataset``.
        seed: Seed of the stream; drawn, and shared by all processes, if None.
    """

    def __init__(self, dataset: JointDataset, seed: int | None = None) -> None:
        if not isinstance(dataset, JointDataset):
            kind = type(dataset).__name__
            raise ValueError(f'JointSampler draws from a JointDataset, not from {kind}')
        dataset.needs_sampler = False
        super().__init__(dataset, shuffle=True, seed=seed)

    def _infinite_indices(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        sizes = [len(dataset) for dataset in self.dataset.datasets]
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        waiting = [[] for _ in sizes]
        while True:
            i = torch.multinomial(self.dataset.set_weights, 1, generator=generator).item()
            if not waiting[i]:
                waiting[i] = torch.randperm(sizes[i], generator=generator).tolist()
            yield starts[i] + waiting[i].pop()
