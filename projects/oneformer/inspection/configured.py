"""The data sets that a config names, each with the split it belongs to."""

from collections.abc import Iterator, Mapping, Sequence

from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

from ..datasets.base import SegmentDataset

SPLITS = ('train', 'val', 'test')


def _leaves(dataset: Mapping, name: str) -> Iterator[tuple[str, Mapping]]:
    """The sets that a set is joined or wrapped from, or the set itself."""
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
            f'the data set of {name} is a {dataset["type"]}, which is none of this project: use '
            'PanopticDataset, InstanceDataset or SemanticDataset'
        )


def configured_sets(cfg: Config, splits: Sequence[str]) -> dict[str, Mapping]:
    """The configs of the data sets of some splits.

    Args:
        cfg: Config of training.
        splits: Of ``SPLITS``. Those without a dataloader are left out.

    Returns:
        For each set its name, such as ``train``, or ``train[1]`` for a set of a ``JointDataset``,
        and its config.

    Raises:
        ValueError: If no split has a dataloader, or a set is of another project.
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
        raise ValueError(f'{cfg.filename} has no data sets for {", ".join(splits)}')
    return sets
