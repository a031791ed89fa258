"""Find, check and read the files of a download; write JSON too large for one string."""

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from functools import partial
from pathlib import Path

from ..datasets.entries import Kind, complete
from ..datasets.text_files import parse_json
from ..host.safe_io import replacing
from ..images import label_files
from ..images.image_files import upright_size

_NAMED = 10  # of the names in a message

check_image = partial(upright_size, remedy='download it again')
read_png = partial(label_files.read_png, remedy='download it again')


def _enumerate(names: Iterable[str]) -> str:
    names = sorted(map(str, names))
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return ', '.join(names[:_NAMED]) + more


class Inventory:
    """Looks through a download and collects what is wrong, so that one run names it all.

    Args:
        root: Folder of the download.

    Attributes:
        problems: Sentences, empty if all is there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems = []

    def files(self, folder: str, suffix: str, source: str, depth: int = 0) -> dict[str, Path]:
        """The files of a folder of the download.

        Args:
            folder: Relative to the root.
            suffix: What the names end with.
            source: Which download holds the folder, for the message.
            depth: Levels of folders between ``folder`` and the files.

        Returns:
            Names, without folder and suffix, to paths, sorted by path; empty, with a problem noted,
            if there is none.
        """
        found = (self.root / folder).glob('*/' * depth + f'*{suffix}')
        # macOS leaves files ._NAME in folders it unpacks
        paths = sorted((path for path in found if path.name[0] != '.'), key=str)
        if not paths:
            state = 'has no' if (self.root / folder).is_dir() else 'does not exist; it holds'
            self.problems.append(f'{folder}/ {state} {"*/" * depth}*{suffix}: from {source}')
        return {path.name.removesuffix(suffix): path for path in paths}

    def json(self, path: str, lists: Mapping[str, Mapping[str, Kind]], source: str) -> dict | None:
        """Content of a JSON of the download; None, with a problem noted, if it is not usable.

        Args:
            path: Relative to the root.
            lists: Lists that it must have, and the keys of their entries.
            source: Which download holds it, for the message.
        """
        try:
            content = parse_json((self.root / path).read_bytes(), path)
        except FileNotFoundError:
            self.problems.append(f'{path} does not exist: from {source}')
            return None
        except ValueError as error:
            self.problems.append(f'{error}: download it again')
            return None
        if not isinstance(content, dict):
            self.problems.append(f'{path} holds no dict: download it again')
            return None
        missing = set(lists) - set(content)
        if missing:
            self.problems.append(f'{path} lacks {sorted(missing)}: download it again')
            return None
        wrong = []
        for name, keys in lists.items():
            complete(content[name], keys, f'entry of {name}', path, wrong.append)
        if wrong:
            more = f' (and {len(wrong) - 1} more such entries)' if len(wrong) > 1 else ''
            self.problems.append(wrong[0].message + more)
            return None
        return content

    def match(
        self, names: Iterable[Hashable], what: str, others: Iterable[Hashable], other: str
    ) -> None:
        """Note names without a counterpart, in both directions, and names that occur twice.

        Args:
            names: Names on one side.
            what: What ``names`` are and where, in the plural.
            others: Names on the other side.
            other: The same of ``others``.
        """
        counts = Counter(iter(names))
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            self.problems.append(
                f'{len(twice)} of the {what} occur more than once: {_enumerate(twice)}'
            )
        names, others = set(counts), set(others)
        for mine, owner, theirs, missing in (
            (names, what, others, other),
            (others, other, names, what),
        ):
            alone = mine - theirs
            # an empty side was noted when it was looked for
            if theirs and alone:
                self.problems.append(
                    f'{len(alone)} of the {owner} have no counterpart among the {missing}: '
                    f'{_enumerate(alone)}'
                )


def check_shape(
    path: Path, shape: tuple[int, int], owner: Path | str, expected: tuple[int, int]
) -> None:
    """Raise ``ValueError`` if two files of one image differ in (height, width)."""
    if tuple(shape) != tuple(expected):
        raise ValueError(
            f'{path} has (height, width) {tuple(shape)}, but {owner} has {tuple(expected)}: '
            'the two files do not belong together'
        )


def write_records(path: Path, scratch: Path, content: Mapping[str, Iterable[Mapping]]) -> None:
    """Write a JSON of lists, one record a line, by way of the folder ``scratch``.

    The records of COCO's training split do not fit well into memory all at once, so the lists may
    be generators.
    """
    with replacing(path, scratch) as temporary, open(temporary, 'w') as file:
        opening = '{'
        for key, records in content.items():
            file.write(f'{opening}{json.dumps(key)}: [')
            for number, record in enumerate(records):
                file.write((',\n' if number else '\n') + json.dumps(record))
            file.write('\n]')
            opening = ',\n'
        file.write('}\n')
