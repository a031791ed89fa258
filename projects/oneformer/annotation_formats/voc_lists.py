"""The lists of Pascal VOC that say which image is for training, which for validation."""

from pathlib import Path

from .collecting import Collected
from .reading import read_text, some
from .split_names import split_of


def read_split_lists(folder: Path, found: Collected) -> dict[str, str | None]:
    """The part of each listed image, by its name without suffix.

    A name that is only in a list of no part, such as ``default.txt`` or ``trainval.txt``, has None.

    Args:
        folder: Folder of the lists, a name per line; it may be missing.
        found: Collector of unreadable lists, and of images in two parts.
    """
    splits: dict[str, str | None] = {}
    files: dict[str, Path] = {}
    for path in sorted(folder.glob('*.txt')) if folder.is_dir() else ():
        split = split_of(path.stem)
        try:
            lines = read_text(path, 'list of images').splitlines()
        except (OSError, ValueError) as error:
            found.error('list of images', str(error), path)
            continue
        both = []
        for name in filter(None, map(str.strip, lines)):
            name = name.replace('\\', '/')
            before = splits.get(name)
            if None not in (before, split) and before != split:
                both.append(name)
            if before is None:
                splits[name], files[name] = split, path
        if both:
            found.error(
                'image of two parts',
                f'{path}: {len(both)} names are in {files[both[0]].name}, too: {some(both)}: an '
                'image of both is scored on what was learned; take it out of one',
                path,
            )
    return splits
