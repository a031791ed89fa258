"""Which part of a dataset a file or folder is for, by its name."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

SYNONYMS = dict(training='train', validation='val', valid='val', dev='val', testing='test')
_WORDS = dict(SYNONYMS, train='train', val='val', test='test')


def split_of(name: str) -> str | None:
    """``'train'``, ``'val'`` or ``'test'`` if one of their words is in a name.

    As in ``instances_train2017``; None for none of them, and for several.
    """
    found = {_WORDS[word] for word in re.split('[^a-z]+', name.lower()) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def split_of_path(path: Path, root: Path) -> str | None:
    """The part that a file below a folder is for, by its own name, else by those of its folders."""
    below = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    names = [below.stem, *reversed(below.parent.parts)]
    return next(filter(None, map(split_of, names)), None)


def split_of_folders(name: str) -> str | None:
    """The part of an image by its folders, the innermost first, as ``images/train/1.jpg``."""
    return next(filter(None, map(split_of, reversed(PurePosixPath(name).parent.parts))), None)


def splits_of_folders(names: Sequence[str]) -> list[str | None]:
    """The part of each image by its folders; None for all if one has no such folder."""
    found = [split_of_folders(name) for name in names]
    return found if all(found) else [None] * len(found)
