"""Rows of the metadata of a Hugging Face image folder: an image, its mask, and its segments."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .collecting import Collected
from .reading import read_text, slashed

METADATA = ('metadata.jsonl', 'metadata.csv')
_IMAGES = ('file_name', 'image_file_name', 'image', 'image_path')
_MASKS = ('label', 'mask', 'annotation', 'segmentation', 'label_map', 'panoptic', 'seg', 'target')
_END = '_file_name'


@dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        where: File and line, for messages.
        image: Path of the image.
        mask: Path of the mask; None if the row has none.
        segments: Content of its ``segments_info``; None if it has none.
    """

    where: str
    image: Path
    mask: Path | None
    segments: list | None


def _records(path: Path, found: Collected) -> Iterator[tuple[str, Mapping]]:
    """Place and content of each row; broken ones are reported."""
    text = read_text(path, 'metadata')
    if path.suffix == '.csv':
        for number, row in enumerate(csv.DictReader(text.splitlines()), 2):
            yield f'{path}, line {number}', row
        return
    for number, line in enumerate(text.splitlines(), 1):
        where = f'{path}, line {number}'
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError('not an object')
        except ValueError as error:
            found.error('broken row', f'{where} is not an object of JSON ({error}): correct it')
            continue
        yield where, row


def _file_of(value: Any) -> str | None:
    """The name of a file that a value holds: a text, or an object with ``path``."""
    value = value.get('path') if isinstance(value, Mapping) else value
    return slashed(value) if isinstance(value, str) and value.strip() else None


def _mask_key(row: Mapping, image_key: str, where: str, chosen: str | None) -> str | None:
    """The column of the mask; ValueError if it is not clear which it is."""
    if chosen is not None:
        if chosen not in row:
            raise ValueError(f'{where} has no column {chosen!r}, only {list(row)}')
        return chosen
    keys = [key for key in row if key.endswith(_END) and key not in (image_key, 'file_name')]
    keys += [key for key in _MASKS if key in row]
    if len(keys) > 1:
        raise ValueError(f'{where} has masks in {keys}: say which is meant by --mask-column')
    return keys[0] if keys else None


def _segments(value: Any, where: str) -> list | None:
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f'{where}: segments_info is not JSON ({error}): correct it') from error
    if value in (None, ''):
        return None
    if isinstance(value, Mapping):  # columns in place of rows, as tables turn them
        value = [dict(zip(value, cells)) for cells in zip(*value.values())]
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise ValueError(f'{where}: segments_info is not a list of objects: correct it')
    return value


def read_rows(path: Path, chosen: str | None, found: Collected) -> list[Row]:
    """The rows of a metadata file.

    Args:
        path: ``metadata.jsonl`` or ``metadata.csv``; file names are below its folder.
        chosen: Column of the masks; None to find it out.
        found: Collector of the problems.
    """
    rows = []
    try:
        for where, record in _records(path, found):
            try:
                rows.append(_row(record, where, path.parent, chosen))
            except ValueError as error:
                found.error('wrong row', str(error))
    except (OSError, ValueError) as error:
        found.error('metadata', str(error))
    return rows


def _row(record: Mapping, where: str, folder: Path, chosen: str | None) -> Row:
    key = next((key for key in _IMAGES if key in record), None)
    image = _file_of(record[key]) if key else None
    if image is None:
        raise ValueError(
            f'{where} names no image ({", ".join(_IMAGES[:2])}), only {list(record)}: correct it'
        )
    mask_key = _mask_key(record, key, where, chosen)
    mask = _file_of(record[mask_key]) if mask_key else None
    if mask is None and mask_key and record[mask_key] not in (None, ''):
        raise ValueError(
            f'{where}: {mask_key} is {record[mask_key]!r}, not the name of a file: correct it'
        )
    segments = _segments(record.get('segments_info'), where)
    return Row(where, folder / image, None if mask is None else folder / mask, segments)
