"""Checks of the entries of a JSON: their keys, the kinds of their values, and file names."""

import difflib
import math
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import PureWindowsPath
from typing import Any, NamedTuple

from .findings import Finding, OnFinding


class Kind(NamedTuple):
    """A kind of value, with its check.

    Attributes:
        words: Name of the kind in messages.
        fits: Whether a value is one.
    """

    words: str
    fits: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return type(value) is int  # True is not one


def _is_number(value: Any) -> bool:
    return _is_whole(value) or isinstance(value, float) and math.isfinite(value)


def _is_file_name(value: Any) -> bool:
    if not isinstance(value, str) or '://' in value:
        return False
    path = PureWindowsPath(value)  # knows both separators
    printable = all(ord(letter) >= 32 and letter != '\x7f' for letter in value)
    return printable and bool(path.name) and not path.root and '..' not in path.parts


WHOLE = Kind('a whole number', _is_whole)
SIDE = Kind('a whole number from 1', lambda value: _is_whole(value) and value > 0)
AREA = Kind('a number from 0', lambda value: _is_number(value) and value >= 0)
FLAG = Kind('0 or 1', lambda value: value in (0, 1) and isinstance(value, int))
TEXT = Kind('a text', lambda value: isinstance(value, str))
ID = Kind('a whole number or a text', lambda value: _is_whole(value) or isinstance(value, str))
LIST = Kind('a list', lambda value: isinstance(value, list))
FILE_NAME = Kind(
    'the name of a file below its folder (no absolute path, no .., no URL, no control character)',
    _is_file_name,
)


def some_ids(ids: Collection) -> str:
    """Which ids a JSON lists, for messages."""
    first = ', '.join(map(repr, list(ids)[:3]))
    return f' (it lists {len(ids)}, such as {first})' if ids else ' (it lists none)'


def _similar_keys(missing: Iterable[str], entry: Mapping) -> str:
    """Which keys of an entry look like those that it lacks."""
    words = {key.replace('_', '').lower(): key for key in entry if isinstance(key, str)}
    close = {
        key: words[found[0]]
        for key in missing
        if (found := difflib.get_close_matches(key.replace('_', ''), words, 1, 0.8))
        and words[found[0]] != key
    }
    return ''.join(f' (it has {theirs!r}: call it {key!r})' for key, theirs in close.items())


def _is_complete(entry: Mapping, checks: Iterable[tuple[str, Callable, bool]]) -> bool:
    for key, fits, required in checks:
        value = entry.get(key)
        if required if value is None else not fits(value):
            return False
    return True


def complete(
    entries: Iterable[Mapping],
    keys: Mapping[str, Kind],
    what: str,
    ann_file: str,
    report: OnFinding,
    optional: Mapping[str, Kind] | None = None,
    hint: Callable[[Mapping], str] = lambda entry: '',
) -> list[Mapping]:
    """The entries of a JSON that have all keys, with values of their kinds; others are reported.

    Args:
        entries: Entries of the JSON, which may be anything.
        keys: Required keys, and the kind of each.
        what: Name of an entry in messages, such as "image".
        ann_file: The JSON, for messages.
        report: Callback for each fault.
        optional: Further keys, and the kind of each; the value None counts as missing.
        hint: Function of an incomplete entry that returns an addition to the message.
    """
    whole, kinds = [], {**keys, **(optional or {})}
    if not isinstance(entries, list):
        message = f'{ann_file}: in place of a list there is {reprlib.repr(entries)} ({what})'
        report(Finding('no list', f'{message}: correct the JSON', ann_file))
        return whole
    checks = [(key, kind.fits, key in keys) for key, kind in kinds.items()]
    for position, entry in enumerate(entries):
        if type(entry) is dict and _is_complete(entry, checks):
            whole.append(entry)
            continue
        if not isinstance(entry, Mapping):
            message = f'{ann_file}: {what}, position {position}, is {reprlib.repr(entry)}'
            report(Finding('no dict', f'{message}, not a dict: correct it', ann_file, position))
            continue
        values = {key: entry.get(key) for key in kinds}
        missing = [key for key in keys if values[key] is None]
        wrong = [
            f'{key} is {reprlib.repr(value)}, not {kinds[key].words}'
            for key, value in values.items()
            if value is not None and not kinds[key].fits(value)
        ]
        number = entry.get('id', entry.get('image_id'))
        if not ID.fits(number):
            number = None
        name = f'{what}, ' + (f'position {position}' if number is None else f'id {number}')
        if missing:
            found = f'lacks {missing}{_similar_keys(missing, entry)}{hint(entry)}'
            message = f'{ann_file}: {name}, {found}: add what is missing'
            report(Finding('incomplete entry', message, ann_file, number))
        if wrong:
            message = f'{ann_file}: {name}: {"; ".join(wrong)}: correct it'
            report(Finding('wrong value', message, ann_file, number))
    return whole
