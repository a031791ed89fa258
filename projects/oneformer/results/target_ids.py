"""Ids of images and categories for result files, taken from a JSON in COCO format."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlparse

from mmengine.logging import print_log

from ..class_matching import normalise, owners
from ..datasets.text_files import parse_json
from ..datasets.written_ids import category_of_label
from ..images.image_files import read_file
from ..images.similar_files import similar_files
from ..metainfo import closest

_SHOWN = 5  # names in a message


def _parts(name: str | os.PathLike) -> tuple[str, ...]:
    """Folders and file name, without ``.``."""
    return tuple(part for part in PurePath(name).parts if part != '.')


def _number(value: Any) -> Any:
    """A whole number where one is written as a float or a text, else the value."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return value
    return number if isinstance(value, str) or number == value else value


def _file_name(image: Mapping) -> str | None:
    """The file name of an entry, for LVIS the end of its ``coco_url``; None without one."""
    name = image.get('file_name')
    if name is None and isinstance(image.get('coco_url'), str):
        name = PurePath(urlparse(image['coco_url']).path).name
    return name.replace('\\', '/') if isinstance(name, str) and _parts(name) else None


def _read(ann_file: str) -> dict:
    """Content of a JSON with lists ``images``, ``categories`` and ``annotations``."""

    def tell(text: str) -> None:
        print_log(text, logger='current', level=logging.WARNING)

    if not os.path.isfile(ann_file):
        raise FileNotFoundError(
            f'ann_file {ann_file}, whose ids were to be taken, does not exist'
            f'{similar_files(ann_file)}'
        )
    content = parse_json(read_file(ann_file, 'ann_file'), ann_file, tell)
    kind = type(content).__name__
    content = content if isinstance(content, dict) else {}
    missing = [k for k in ('images', 'categories') if not isinstance(content.get(k), list)]
    if missing:
        raise ValueError(
            f'{ann_file} is not in COCO format: it is a {kind} without a list of '
            f'{" and of ".join(missing)}, whose ids could be taken'
        )
    lists = {key: content[key] for key in ('images', 'categories')}
    for key, entries in lists.items():
        if not all(isinstance(entry, Mapping) for entry in entries):
            raise ValueError(f'{ann_file}: an entry of {key} is not a dict: correct it')
    return {**lists, 'annotations': content.get('annotations') or []}


class TargetIds:
    """The ids of a JSON, by the names that it gives images and categories.

    An entry belongs to an image if its ``file_name`` is the end of the path of the image, in whole
    folders; of several, the longest counts. Categories are matched with classes by name, by the
    rules of ``class_matching`` and the aliases.

    Args:
        ann_file: The JSON, panoptic or instance, with or without annotations.
        dataset_meta: Metainfo of the model, with ``classes`` and maybe ``aliases``.

    Attributes:
        dataset_meta: Metainfo of the model with ``category_ids`` and ``category_names`` of the
            JSON, None for a class that it does not list.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not in COCO format, lists no image, or lists a file or an id twice.
    """

    def __init__(self, ann_file: str | os.PathLike, dataset_meta: Mapping) -> None:
        self.ann_file = os.fspath(ann_file)
        self.content = _read(self.ann_file)
        self.entry_of = self._entries()
        self.dataset_meta = {**dataset_meta, **self._categories(dataset_meta)}

    def _entries(self) -> dict[tuple[str, ...], Mapping]:
        """Entries of images by the parts of their file names."""
        entries: dict[tuple[str, ...], Mapping] = {}
        for image in self.content['images']:
            number, name = image.get('id'), _file_name(image)
            number = _number(number) if isinstance(number, float) else number  # texts are ids
            if type(number) not in (int, str):
                raise ValueError(f'{self.ann_file} has an image without an id: {image!r}')
            if name is None:
                raise ValueError(
                    f'{self.ann_file}: image id {number!r} has file_name '
                    f'{image.get("file_name")!r}: write the name of its file'
                )
            before = entries.setdefault(_parts(name), {**image, 'id': number, 'file_name': name})
            if before['id'] != number:
                raise ValueError(
                    f'{self.ann_file} lists {name} twice, as image ids {before["id"]!r} and '
                    f'{number!r}: remove one entry'
                )
        if not entries:
            raise ValueError(f'{self.ann_file} lists no image')
        return entries

    def _categories(self, dataset_meta: Mapping) -> dict:
        """``category_ids`` and ``category_names`` by label."""
        owner, aliases = owners(dataset_meta), dataset_meta.get('aliases') or {}
        label_of: dict[int, int | None] = {}
        name_of: dict[int, str] = {}
        for category in self.content['categories']:
            number, name = _number(category.get('id')), category.get('name')
            if type(number) is not int or not isinstance(name, str):
                raise ValueError(
                    f'{self.ann_file} has the category {category!r}: give it a whole number as id, '
                    'and a name'
                )
            if number in name_of:
                raise ValueError(
                    f'{self.ann_file} has two categories of id {number}, {name_of[number]!r} and '
                    f'{name!r}: give each an id of its own'
                )
            left_out = name in aliases and aliases[name] is None
            label = owner.get(name, owner.get(normalise(name)))
            label_of[number] = None if left_out else label
            name_of[number] = name
        ids = category_of_label(self.content, label_of, dataset_meta, self.ann_file)
        others = [name_of[number] for number, label in label_of.items() if label is None]
        if others:
            print_log(
                f'{self.ann_file}: the model does not predict {len(others)} of its '
                f'{len(label_of)} categories: {_listed(others)}',
                logger='current',
                level=logging.WARNING,
            )
        classes = dataset_meta['classes']
        names = [name_of.get(k, name) if k is not None else name for k, name in zip(ids, classes)]
        return dict(category_ids=ids, category_names=tuple(names))

    def check_classes(self, labels: Collection[int]) -> None:
        """Raise ValueError for classes that may be predicted, but that the JSON does not list.

        Args:
            labels: Labels that result files may need.
        """
        meta = self.dataset_meta
        missing = [meta['classes'][k] for k in sorted(labels) if meta['category_ids'][k] is None]
        if missing:
            listed = [str(c.get('name')) for c in self.content['categories']]
            raise ValueError(
                f'{self.ann_file} has no category for {len(missing)} of the {len(labels)} classes '
                f'that may be predicted: {_listed(missing)}{closest(missing, listed)}. Add them to '
                'its categories, or predict others only: --classes (classes=[...]), or --tasks '
                'instance for things alone'
            )

    def entry(self, name: str, path: str | os.PathLike | None) -> Mapping | None:
        """The entry of an image, None if there is none.

        Args:
            name: Name of the image, below the folder that was passed.
            path: Path of its file; None for an array.
        """
        parts = _parts(name) if path is None else _parts(Path(path).absolute())
        ends = [parts] if path is None else [parts[start:] for start in range(len(parts))]
        return next((self.entry_of[end] for end in ends if end in self.entry_of), None)

    def check_images(self, named: Sequence[tuple[str, str | os.PathLike | None]]) -> None:
        """Raise ValueError for images that the JSON does not list, or that share an entry.

        Args:
            named: Name and path of each image, see ``entry``.
        """
        missing: list[str] = []
        owner: dict[int | str, str | os.PathLike] = {}
        for name, path in named:
            entry = self.entry(name, path)
            if entry is None:
                missing.append(str(path or name))
            elif owner.setdefault(entry['id'], path or name) != (path or name):
                raise ValueError(
                    f'{owner[entry["id"]]} and {path or name} both end with '
                    f'{entry["file_name"]}, image id {entry["id"]!r} of {self.ann_file}: write '
                    'their results in separate runs, or folders into file_name'
                )
        if missing:
            first = next(iter(self.entry_of.values()))['file_name']
            raise ValueError(
                f'{self.ann_file} does not list {len(missing)} of the {len(named)} images: '
                f'{_listed(missing)}. Its file_name has to be the end of the path of an image, '
                f'such as {first}: add them to its images, or hand in only those that it lists'
            )

    def check_size(self, entry: Mapping, size: tuple[int, int]) -> None:
        """Raise ValueError if an image does not have the (height, width) that the JSON states."""
        stated = _number(entry.get('height')), _number(entry.get('width'))
        if None not in stated and stated != size:
            raise ValueError(
                f'{entry["file_name"]} is {size[1]} x {size[0]} pixels, but image id '
                f'{entry["id"]!r} of {self.ann_file} has width {stated[1]} and height {stated[0]}: '
                "correct them, or choose the frame that they are of with --orientation ('upright' "
                "or 'stored')"
            )


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return ', '.join(repr(name) for name in names[:_SHOWN]) + more
