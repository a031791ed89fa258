"""Common code of the readers: files, images of a folder, numbers, class names."""

import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..class_matching import normalise
from ..datasets.file_names import Folder, loose
from ..datasets.file_pairs import SUFFIXES
from ..datasets.text_files import decode_text, parse_json
from ..images.image_files import read_file

IMAGE_SUFFIXES = (*SUFFIXES, '.gif', '.jp2', '.avif')  # others are found where a file names them
SHOWN = 5  # names in a message
_PROBLEMS = 30  # problems that are listed one by one
_KINDS = {
    str: 'a text',
    dict: 'an object',
    list: 'a list',
    int: 'a whole number',
    type(None): 'null',
}


def read_json(path: Path, what: str = 'annotation file') -> Any:
    """Content of a JSON, see ``text_files.parse_json``; ValueError or OSError name the file."""
    return parse_json(read_file(str(path), what), str(path))


def read_text(path: Path, what: str = 'annotation file') -> str:
    """A text in UTF-8, or in what its byte order mark says; ValueError or OSError name the file."""
    try:
        return decode_text(read_file(str(path), what))
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{what} {path} is not a text in UTF-8 ({error}): save it as UTF-8, or replace it'
        ) from error


def some(names: Iterable) -> str:
    """The first names of some, and how many more there are."""
    listed = list(names)
    more = f' and {len(listed) - SHOWN} more' if len(listed) > SHOWN else ''
    return ', '.join(map(str, listed[:SHOWN])) + more


def expect(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """The value; ValueError if it is not of a kind. A bool is not a number."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        names = ' or '.join(_KINDS.get(k, k.__name__) for k in kinds)
        raise ValueError(f'{what} is {_short(value)}, not {names}: correct it')
    return value


def finite(value: Any, what: str) -> float:
    """A number, also one that a text holds; ValueError for others, nan and infinity."""
    found = None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            found = None
    if found is None or not math.isfinite(found):
        raise ValueError(f'{what} is {_short(value)}, not a finite number: correct it')
    return found


def all_finite(get: Callable, keys: Sequence[str], place: str) -> list[float]:
    """The numbers that ``get`` has under some keys, see ``finite``."""
    return [finite(get(key), f'{place}: {key}') for key in keys]


def whole(value: Any, what: str, least: int | None = None) -> int:
    """A whole number, see ``finite``, of ``least`` or more."""
    found = finite(value, what)
    if not found.is_integer() or (least is not None and found < least):
        bound = '' if least is None else f' from {least}'
        raise ValueError(f'{what} is {_short(value)}, not a whole number{bound}: correct it')
    return int(found)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def name_problems(names: Sequence[Any], file: Path | str) -> list[str]:
    """What is wrong with the names of all classes, each of which should be there once."""
    problems, seen = [], {}
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            problems.append(
                f'{file}: class {number} has the name {name!r}: a class needs a text as its name'
            )
            continue
        before = seen.setdefault(normalise(name), (number, name))
        if before[0] == number:
            continue
        same = f'both named {name!r}' if before[1] == name else f'named {before[1]!r} and {name!r}'
        problems.append(
            f'{file}: classes {before[0]} and {number} are {same}, which differ in nothing but '
            'case, blanks, hyphens and underscores: rename one, or make one class of them'
        )
    return problems


def spelling_problems(used: Iterable[str], file: Path | str) -> list[str]:
    """Names of classes that are used in several spellings, where no list of classes exists."""
    spellings: dict[str, dict[str, None]] = {}
    for name in used:
        spellings.setdefault(normalise(name), {})[name] = None
    return [
        f'{file}: one class is written in {len(group)} ways, {", ".join(map(repr, group))}: write '
        'it in one way in all files, or rename a class'
        for group in spellings.values()
        if len(group) > 1
    ]


def shortened(problems: Sequence[str]) -> list[str]:
    """The first of many problems, and how many more there are."""
    more = len(problems) - _PROBLEMS
    if more <= 0:
        return list(problems)
    return [*problems[:_PROBLEMS], f'and {more} more problems like these']


def without_suffix(name: str) -> str:
    """A path with / without the last suffix of its file name."""
    return str(PurePosixPath(name).with_suffix('')) if PurePosixPath(name).suffix else name


def slashed(name: str) -> str:
    """A path that Windows or Linux has written, with / and without ``.`` parts."""
    if '\\' not in name and '//' not in name and './' not in name:
        return name
    return PureWindowsPath(name).as_posix() if '\\' in name else str(PurePosixPath(name))


def json_files(folder: Path) -> Iterator[Path]:
    """The JSON files in and below a folder, sorted in each; hidden ones are left out."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        names = sorted(n for n in files if n.lower().endswith('.json') and not n.startswith('.'))
        yield from (Path(parent, name) for name in names)


class ImageFolder:
    """The image files below a folder, listed once; hidden files and folders are left out.

    Args:
        path: Path of the folder.
        skip: Names of sub-folders, at any depth, that hold no images, such as those of masks.

    Attributes:
        path: Path of the folder.
        names: Paths below it, with /, sorted.

    Raises:
        ValueError: If it is not a folder.
    """

    def __init__(self, path: Path, skip: Iterable[str] = ()) -> None:
        if not path.is_dir():
            raise ValueError(f'{path} is not a folder: check the path to the images')
        self.path = path
        self.names = sorted(self._walk(frozenset(skip)))
        self._folder = Folder(str(path))
        self._stems: dict[str, list[str]] = {}
        for name in self.names:
            self._stems.setdefault(loose(without_suffix(name)), []).append(name)

    def _walk(self, skip: frozenset[str]) -> Iterable[str]:
        for parent, folders, files in os.walk(self.path, followlinks=True):
            folders[:] = [f for f in folders if not f.startswith('.') and f not in skip]
            below = Path(parent).relative_to(self.path)
            for name in files:
                if not name.startswith('.') and Path(name).suffix.lower() in IMAGE_SUFFIXES:
                    yield (below / name).as_posix()

    def named(self, name: str) -> str | None:
        """The file that a name of a file means: itself, or the only one in another spelling."""
        return self._folder.find(slashed(name)) if name.strip('/\\. ') else None

    def of_stem(self, stem: str) -> list[str]:
        """Files of a path without suffix: those written so, else those in another spelling."""
        found = self._stems.get(loose(stem), [])
        exact = [name for name in found if without_suffix(name) == stem]
        return exact or found


@functools.lru_cache(maxsize=256)
def _listed(folder: str) -> Folder:
    return Folder(folder)


def existing_file(path: Path) -> Path | None:
    """The file of a path, or the only one beside it in another spelling; None for none."""
    if path.is_file():
        return path
    found = _listed(str(path.parent)).find(path.name) if path.name else None
    return path.parent / found if found and (path.parent / found).is_file() else None


def missing_image(name: str, folder: Path, file: Path | str) -> str:
    """The message about an image that a file names and that does not exist."""
    return (
        f'{file}: image {name!r} does not exist below {folder}: put it there, correct the name, or '
        'remove its annotations'
    )


def ambiguous_image(what: str, names: Sequence[str], folder: Path) -> str:
    """The message about annotations that may belong to several images."""
    return (
        f'{what} may belong to {len(names)} images in {folder}, {some(names)}: rename or remove '
        'all but one, and its annotations likewise'
    )
