"""Read tables of classes from text, CSV and JSON files, in the usual layouts."""

import csv
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..images.similar_files import similar_files
from .class_tables import ClassEntry, ClassTable
from .color_texts import as_color
from .reading import read_json, read_text

_NAMES = ('name', 'class', 'class_name', 'label', 'category', 'title', 'readable', 'names')
_COLORS = ('color', 'colour', 'rgb', 'hex', 'palette')
_VALUES = ('id', 'value', 'index', 'class_id', 'label_id', 'category_id', 'pixel', 'n')
_INSIDE = ('classes', 'labels', 'categories', 'items', 'id2label', 'colors', 'palette')
_NUMBER, _GAP = r'(\d{1,3})', r'[\s,;]+'
_RGB = rf'{_NUMBER}{_GAP}{_NUMBER}{_GAP}{_NUMBER}'
_LINES: list[tuple[str, re.Pattern, Callable]] = [
    (
        'r g b name',
        re.compile(rf'{_RGB}[\s,;:]+(\D.*)'),
        lambda g: (g[4], None, (g[1], g[2], g[3])),
    ),
    (
        'number name r g b',
        re.compile(rf'(\d+)[\s,;:]+(\D.*?)[\s,;:]+{_RGB}'),
        lambda g: (g[2], g[1], (g[3], g[4], g[5])),
    ),
    (
        'name:r,g,b:parts:actions',
        re.compile(rf'([^:]+):(?:{_RGB})?:[^:]*:[^:]*'),
        lambda g: (g[1], None, (g[2], g[3], g[4]) if g[2] else None),
    ),
    (
        'name r g b',
        re.compile(rf'(.*?)[\s,;:=]+{_RGB}'),
        lambda g: (g[1], None, (g[2], g[3], g[4])),
    ),
    ('#rrggbb name', re.compile(r'(#[0-9a-fA-F]{6})[\s,;:]+(.+)'), lambda g: (g[2], None, g[1])),
    ('name #rrggbb', re.compile(r'(.+?)[\s,;:=]+(#[0-9a-fA-F]{6})'), lambda g: (g[1], None, g[2])),
    ('number name', re.compile(r'(\d+)[\s,;:=]+(.+)'), lambda g: (g[2], g[1], None)),
    ('name: number', re.compile(r'(.+?)\s*[,;:=\t]\s*(\d+)'), lambda g: (g[1], g[2], None)),
    ('name', re.compile(r'(.+)'), lambda g: (g[1], None, None)),
]


def read_class_table(path: Path, void: Collection[str] = ()) -> ClassTable:
    """Read a table of classes.

    Args:
        path: A JSON; a CSV with or without a header; or a text with one class a line.
        void: Names of classes whose pixels are taken as not annotated.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is broken; the message names file and line, and says what is expected.
    """
    what = 'table of classes'
    if not path.is_file():
        raise ValueError(f'{what} {path} does not exist{similar_files(str(path))}: correct it')
    if path.suffix.lower() == '.json':
        entries = _of_json(read_json(path, what), path)
    else:
        text = read_text(path, what)
        entries = _of_csv(text, path) if path.suffix.lower() == '.csv' else None
        entries = entries if entries is not None else _of_lines(text, path)
    if not entries:
        raise ValueError(f'{what} {path} has no class: write one a line, such as 128 0 0 car')
    _check_complete(entries, path)
    return ClassTable(path, entries, void)


def _check_complete(entries: list[ClassEntry], path: Path) -> None:
    """Raise ValueError if some entries have a colour or a number, and others none."""
    for key in ('color', 'value'):
        without = [entry.name for entry in entries if getattr(entry, key) is None]
        if 0 < len(without) < len(entries):
            raise ValueError(
                f'table of classes {path}: {without[0]!r} has no {key}, and others have one: add it'
            )


def _entry(name: Any, value: Any, color: Any, where: str) -> ClassEntry:
    """An entry of plain values; ValueError names what is wrong with it."""
    if isinstance(name, str):
        name = name.strip().strip('"\'').strip()
        name = name or None
    elif name is not None:
        raise ValueError(f'{where}: the name {name!r} is not a text: correct it')
    number = int(value) if isinstance(value, str) and value.strip().isdigit() else value
    if number is not None and (type(number) is not int or number < 0):
        raise ValueError(f'{where}: the number {value!r} is not a whole number from 0: correct it')
    found = as_color(color)
    if color is not None and found is None:
        raise ValueError(
            f'{where}: the colour {color!r} is not three whole numbers of 0 to 255, or #rrggbb: '
            'correct it'
        )
    return ClassEntry(name, number, found)


def _of_lines(text: str, path: Path) -> list[ClassEntry]:
    """Entries of a text, all lines of which are written alike."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [
        (number, re.sub(r'[()\[\]]', ' ', line).strip())
        for number, line in lines
        if line and not line.startswith('//') and not re.match(r'#(?![0-9a-fA-F]{6}\b)', line)
    ]
    for kind, pattern, parts in _LINES:
        found = [pattern.fullmatch(line) for _, line in lines]
        fitting = sum(match is not None for match in found)
        if fitting == len(lines):
            return [
                _entry(name, value, _numbers(color), f'table of classes {path}, line {number}')
                for (number, _), (name, value, color) in zip(lines, map(parts, found))
            ]
        if 2 * fitting > len(lines):
            number, line = next(line for line, match in zip(lines, found) if match is None)
            raise ValueError(
                f'table of classes {path}, line {number}: {line!r} is not written as most lines '
                f'are, {kind!r}: correct it, or write a JSON such as {{"car": [128, 0, 0]}}'
            )
    return []


def _numbers(color: Any) -> Any:
    return tuple(map(int, color)) if isinstance(color, tuple) else color


def _of_csv(text: str, path: Path) -> list[ClassEntry] | None:
    """Entries of a CSV with a header; None if it has none."""
    first = text.partition('\n')[0]
    delimiter = max(',;\t', key=first.count)
    rows = list(csv.reader(text.splitlines(), delimiter=delimiter))
    header = [word.strip().lower().replace(' ', '_') for word in rows[0]] if rows else []
    column = {word: position for position, word in reversed(list(enumerate(header)))}
    name = next((column[word] for word in _NAMES if word in column), None)
    if name is None:
        return None
    channels = (('r', 'red'), ('g', 'green'), ('b', 'blue'))
    colors = [column.get(short, column.get(long)) for short, long in channels]
    color = next((column[word] for word in _COLORS if word in column), None)
    value = next((column[word] for word in _VALUES if word in column), None)
    entries = []
    for number, row in enumerate(rows[1:], 2):
        if not any(map(str.strip, row)):
            continue
        where = f'table of classes {path}, line {number}'
        if len(row) < len(header):
            raise ValueError(f'{where}: {row} has fewer columns than the header: correct it')
        shade = row[color] if color is not None else None
        if None not in colors:
            shade = ' '.join(row[position].strip() for position in colors)
        entries.append(_entry(row[name], None if value is None else row[value], shade, where))
    return entries


def _of_json(content: Any, path: Path) -> list[ClassEntry]:
    """Entries of a JSON, see ``docs/label_formats.md``."""
    where = f'table of classes {path}'
    if isinstance(content, Mapping):
        inside = [key for key in _INSIDE if isinstance(content.get(key), list | Mapping)]
        if inside:
            content = content[inside[0]]
    if isinstance(content, list):
        return [_of_item(item, f'{where}, entry {k}') for k, item in enumerate(content)]
    if isinstance(content, Mapping):
        return [_of_pair(key, value, f'{where}, {key!r}') for key, value in content.items()]
    raise ValueError(f'{where} is {content!r}: write {{"car": [128, 0, 0]}} or {{"0": "car"}}')


def _first(item: Mapping, keys: Iterable[str]) -> Any:
    return next((item[key] for key in keys if item.get(key) is not None), None)


def _of_item(item: Any, where: str) -> ClassEntry:
    if isinstance(item, str) or item is None:
        return _entry(item, None, None, where)
    if not isinstance(item, Mapping):
        raise ValueError(f'{where} is {item!r}, not a name or an object: correct it')
    lower = {str(key).lower(): value for key, value in item.items()}
    color = _first(lower, _COLORS)
    if color is None and all(key in lower for key in 'rgb'):
        color = [lower[key] for key in 'rgb']
    if not any(key in lower for key in _NAMES):
        raise ValueError(f'{where} has no name: write {{"name": ..., "color": [r, g, b]}}')
    return _entry(_first(lower, _NAMES), _first(lower, _VALUES), color, where)


def _of_pair(key: str, value: Any, where: str) -> ClassEntry:
    """An entry of an object: number or colour to name, or name to number, colour or object."""
    if isinstance(value, Mapping):
        return _of_item({'name': key, **value}, where)
    if isinstance(value, list):
        return _entry(key, None, value, where)
    if key.strip().isdigit():
        return _entry(value, key, None, where)
    if as_color(key) is not None:
        return _entry(value, None, key, where)
    if isinstance(value, str) and as_color(value) is not None:
        return _entry(key, None, value, where)
    return _entry(key, value, None, where)
