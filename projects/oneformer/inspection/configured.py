"""The datasets that a config names, each with the split it belongs to."""

from collections.abc import Iterator, Mapping, Sequence

from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

from ..datasets.base import SegmentDataset

SPLITS = ('train', 'val', 'test')


def _leaves(dataset: Mapping, name: str) -> Iterator[tuple[str, Mapping]]:
    """The datasets that a dataset is joined or wrapped from, or the dataset itself."""
    kind = DATASETS.get(dataset['type'])
    if isinstance(kind, type) and issubclass(kind, SegmentDataset):
        yield name, dataset
    elif 'datasets' in dataset:
        for number, part in enumerate(dataset['datasets']):
            yield from _leaves(part, f'{name}[{number}]')
    elif 'dataset' in dataset:
        yield from _leaves(dataset['dataset'], name)
    else:
        raise ValueError(
            f'the dataset of {name} is a {dataset["type"]}, which is none of this project: use '
            'PanopticDataset, InstanceDataset or SemanticDataset'
        )


def configured_sets(cfg: Config, splits: Sequence[str]) -> dict[str, Mapping]:
    """The configs of the datasets of some splits.

    Args:
        cfg: Config of training.
        splits: Words of ``SPLITS``. Splits without a dataloader are left out.

    Returns:
        Config of each dataset by its name, such as ``train``, or ``train[1]`` for a dataset of a
        ``JointDataset``.

    Raises:
        ValueError: If no split has a dataloader, or a dataset is of another project.
    """
    if DefaultScope.get_current_instance() is None:
        init_default_scope(cfg.get('default_scope', 'mmdet'))
    loaders = {split: cfg.get(f'{split}_dataloader') for split in splits}
    sets = {
        name: leaf
        for split, loader in loaders.items()
        if loader is not None
        for name, leaf in _leaves(loader['dataset'], split)
    }
    if not sets:
        raise ValueError(f'{cfg.filename} has no datasets for {", ".join(splits)}')
    return sets
