"""Values of a JSON that are written in another way than in COCO's files, with one meaning only.

They are read, and logged once per file and kind. A value that could mean two things stays as
it is, and ``entries`` refuses it.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from .findings import WARNING, Finding, OnFinding

_WHOLE = re.compile(r'[+-]?[0-9]{1,18}(\.0*)?')
_FLAGS = {'true': 1, 'false': 0}
_REMEDIES = {
    'number of another type': 'values are read as the numbers that they mean',
    'id of another type': 'ids are read as those that the JSON lists, of which they are the number',
    'backslash in a file name': 'file names are read with / in place of \\',
    'file name in another spelling': 'file names are read as those of the only files that they fit',
    'file name from coco_url': 'images without file_name are read by the end of their coco_url',
    'flat polygon': 'polygons [x, y, x, y, ...] are read as lists of one such polygon',
    'polygon of pairs': 'polygons of pairs [[x, y], [x, y], ...] are read as [x, y, x, y, ...]',
    'nested polygon': 'polygons in more brackets than COCO has are read without them',
    'coordinates as texts': 'polygons of texts are read as the numbers that they mean',
}


class Readings:
    """Counts values that are read in another way than they are written, to log it once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: dict[str, list] = {}

    def note(self, kind: str, name: str, found: Any, read: Any, number=None) -> None:
        """Remember one reading.

        Args:
            kind: A key of the table of kinds.
            name: Name of the entry and its key.
            found: Value as it is written.
            read: Value as it is read.
            number: Id of the entry.
        """
        seen = self._found.setdefault(
            kind, [0, f'{name}: {_short(found)} -> {_short(read)}', number]
        )
        seen[0] += 1

    def replace(self, kind: str, entry: dict, key: str, read: Any, what: str) -> None:
        """Replace the value of an entry by what it is read as, and remember it."""
        self.note(kind, entry_name(entry, what, key), entry.get(key), read, entry.get('id'))
        entry[key] = read

    def tell(self, report: OnFinding) -> None:
        """Report a warning for each kind, and forget them."""
        for kind, (count, first, number) in self._found.items():
            message = (
                f'{self.file}: {count} {_REMEDIES[kind]}; the first, {first}. Write them so in the '
                'JSON, as other programs need it'
            )
            report(Finding(kind, message, self.file, number, WARNING))
        self._found.clear()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def whole(value: Any) -> int | None:
    """The whole number that a text or a float means; None for anything else."""
    if type(value) is float and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if type(value) is str and _WHOLE.fullmatch(value.strip()):
        return int(value.strip().partition('.')[0])
    return None


def flag(value: Any) -> int | None:
    """The 0 or 1 that a text or a float means; None for anything else."""
    if type(value) is str and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    number = whole(value)
    return number if number in (0, 1) else None


def number(value: Any) -> int | float | None:
    """The finite number that a text means; None for anything else."""
    if type(value) is not str:
        return None
    if whole(value) is not None:
        return whole(value)
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def entry_name(entry: Mapping, what: str, key: str) -> str:
    """Name of the value of an entry in messages."""
    for name in ('id', 'image_id'):
        if name != key and name in entry:
            return f'{key} of {what}, {name} {_short(entry[name])}'
    return f'{key} of {what}'


def read_numbers(
    entries: Iterable, keys: Mapping[str, Callable[[Any], Any]], what: str, readings: Readings
) -> None:
    """Replace the values of keys by the numbers that they mean by a function, in place."""
    for entry in entries:
        if type(entry) is not dict:
            continue
        for key, read in keys.items():
            value = entry.get(key)
            if type(value) is int or value is None:
                continue
            meant = read(value)
            if meant is not None:
                readings.replace('number of another type', entry, key, meant, what)


def read_lists(
    entries: Iterable[dict], keys: frozenset[str], what: str, readings: Readings
) -> None:
    """Replace the elements of the lists of these keys by the whole numbers that they mean."""
    for entry in entries:
        for key in () if keys.isdisjoint(entry) else sorted(keys):
            values = entry.get(key)
            if type(values) is not list:
                continue
            for place, value in enumerate(values):
                meant = None if type(value) is int else whole(value)
                if meant is not None:
                    name = entry_name(entry, what, key)
                    readings.note('number of another type', name, value, meant, entry.get('id'))
                    values[place] = meant


def read_ids(entries: Iterable, key: str, known: Collection, what: str, readings: Readings) -> None:
    """Replace unknown ids by the only known id that is the same number, in place.

    Args:
        entries: Dicts; others are left alone.
        key: Key of the id.
        known: Known ids, whole numbers and texts.
        what: Name of an entry in messages.
        readings: Collector of the replacements.
    """
    same = None  # number to the ids that mean it
    for entry in entries:
        if type(entry) is not dict:
            continue
        value = entry.get(key)
        if type(value) not in (int, str, float) or type(value) is not float and value in known:
            continue
        if same is None:
            same = {}
            for one in known:
                same.setdefault(_plain(one), []).append(one)
        meant = same.get(_plain(value), ())
        if len(meant) == 1:
            readings.replace('id of another type', entry, key, meant[0], what)


def _plain(value: Any) -> Any:
    if type(value) is int:
        return value
    found = whole(value)
    return found if found is not None else value
