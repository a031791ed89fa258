"""Prepare a dataset: look through the download, build what it lacks, count."""

from collections.abc import Sequence
from pathlib import Path

from .ade20k import ADE20K
from .cityscapes import Cityscapes
from .coco import COCO
from .mapillary import Mapillary

PREPARATIONS = dict(ade20k=ADE20K, cityscapes=Cityscapes, coco=COCO, mapillary=Mapillary)


def prepare(dataset: str, data_root: str | Path, splits: Sequence[str], workers: int) -> list[str]:
    """Build what the official download of a dataset lacks, and print what it then holds.

    Args:
        dataset: A key of ``PREPARATIONS``.
        data_root: Folder of the download, see the class.
        splits: Words 'train', 'val' or both.
        workers: Processes, from 1.

    Returns:
        Warnings: splits that do not have the official number of images.

    Raises:
        ValueError: If the download is incomplete, before anything is written, or files are damaged.
        OSError: If something cannot be written.
    """
    preparation = PREPARATIONS[dataset](data_root)
    found, problems = {}, []
    for split in splits:
        found[split], wrong = preparation.find(split)
        # the same package may be missing for both splits
        problems += [problem for problem in wrong if problem not in problems]
    if problems:
        raise ValueError(
            '\n  '.join([f'{data_root} is not a complete download of {dataset}:', *problems])
            + '\nNothing was written. To prepare one split alone: --splits train or --splits val'
        )
    for split, samples in found.items():
        preparation.build(split, samples, workers)
    for split, samples in found.items():
        print('\n'.join(preparation.count(split, samples)))
    return [
        f'{split} has {len(samples)} images, but the official dataset has '
        f'{preparation.official_counts[split]}: scores do not compare with published ones'
        for split, samples in found.items()
        if len(samples) != preparation.official_counts[split]
    ]
