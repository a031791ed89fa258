"""Which part of a dataset a file or folder is for, by its name."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

_WORDS = {
    'train': 'train',
    'training': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'dev': 'val',
    'test': 'test',
    'testing': 'test',
}


def split_of(name: str) -> str | None:
    """``'train'``, ``'val'`` or ``'test'`` if one of their words is in a name, as in
    ``instances_train2017``; None for none of them, and for several."""
    found = {_WORDS[word] for word in re.split('[^a-z]+', name.lower()) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def split_of_path(path: Path, root: Path) -> str | None:
    """The part that a file below a folder is for, by its own name, else by those of its folders."""
    below = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    names = [below.stem, *reversed(below.parent.parts)]
    return next(filter(None, map(split_of, names)), None)


def splits_of_folders(names: Sequence[str]) -> list[str | None]:
    """The part of each image by its folders, as ``images/train/1.jpg``; None for all if one has no
    such folder."""
    found = [
        next(filter(None, map(split_of, reversed(PurePosixPath(name).parent.parts))), None)
        for name in names
    ]
    return found if all(found) else [None] * len(found)
