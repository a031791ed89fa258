"""The tasks of Label Studio's JSON export: which annotation counts, and which image is meant."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .annotated import SourceImage
from .options import image_folder
from .reading import (
    IMAGE_SUFFIXES,
    ImageFolder,
    expect,
    missing_image,
    read_json,
    shortened,
    slashed,
    some,
    spelling_problems,
    whole,
)

AREAS = ('polygon', 'rectangle', 'ellipse', 'brush', 'bitmask')
NOT_AREAS = ('keypoint', 'vector')
_LABELS = ('labels', 'hypertextlabels')
_BY_KEY = dict(
    points='polygon', rle='brush', imageDataURL='bitmask', radiusX='ellipse', height='rectangle'
)
_HASH = re.compile(r'^[0-9a-f]{8}-')  # before the names of files that were uploaded


@dataclass(frozen=True)
class Drawn:
    """A result of a task, and what it draws.

    Attributes:
        result: Result as in the JSON.
        kind: Kind of the region: polygon, rectangle, ellipse, brush, bitmask, or a word for what
            has no area; None if the result is not a region.
        labels: Names of its classes.
    """

    result: Mapping
    kind: str | None
    labels: Sequence[str]


def drawn_by(results: Sequence[Mapping]) -> list[Drawn]:
    """What each result draws; one region may have several results, with one id."""
    of_id: dict[Any, list[str]] = {}
    for result in results:
        names = of_id.setdefault(result.get('id'), [])
        names += [name for name in _own_labels(result) if name not in names]
    seen, found = set(), []
    # a result of type labels repeats what is drawn; it counts where nothing else draws it
    for result in sorted(results, key=lambda r: r.get('type') in _LABELS):
        number = result.get('id')
        kind = _kind(result)
        if kind is not None and number is not None:
            kind = None if number in seen else kind
            seen.add(number)
        found.append(Drawn(result, kind, of_id[number] if number else _own_labels(result)))
    return found


def _kind(result: Mapping) -> str | None:
    value = result.get('value')
    if not isinstance(value, dict):
        return None
    kind = str(result.get('type')).lower()
    if kind in _LABELS:
        return next((word for key, word in _BY_KEY.items() if key in value), None)
    kind = kind.removesuffix('labels')
    return kind if kind in (*AREAS, *NOT_AREAS) else None


def _own_labels(result: Mapping) -> list[str]:
    value = result.get('value')
    if not isinstance(value, dict):
        return []
    found = []
    for key, names in value.items():
        if key.endswith('labels') and isinstance(names, list):
            found += [name for name in names if isinstance(name, str)]
    return found


def stated_size(results: Sequence[Mapping], place: str) -> tuple[int, int] | None:
    """(height, width) that the regions of a task state; None if none does."""
    sizes = {}
    for result in results:
        if result.get('original_width') and result.get('original_height'):
            size = tuple(
                whole(result[key], f'{place}: {key}', 1)
                for key in ('original_height', 'original_width')
            )
            sizes[size] = result.get('id')
    if len(sizes) > 1:
        raise ValueError(
            f'{place} has regions drawn on images of different sizes, {sorted(sizes)} (height, '
            'width): annotate it again'
        )
    return next(iter(sizes), None)


def image_names(text: str) -> Iterator[str]:
    """Names below a folder that an image of a task may have there, the longest first.

    Args:
        text: A path or a URL: ``/data/upload/1/1a2b3c4d-cat.jpg``,
            ``/data/local-files/?d=cats/cat.jpg``, ``s3://bucket/cats/cat.jpg``, ``cat.jpg``.
    """
    url = urlsplit(text)
    inside = parse_qs(url.query).get('d')
    path = inside[0] if inside else unquote(url.path)
    parts = [p for p in PurePosixPath(slashed(path)).parts if p not in ('/', '..')]
    for start in range(len(parts)):
        yield '/'.join(parts[start:])
    if parts and _HASH.match(parts[-1]):
        yield _HASH.sub('', parts[-1])


class LabelStudioTasks:
    """Reads what is common to all tasks.

    Args:
        path: The JSON, or the folder that it is in.
        options: Values of the format's options, by name.

    Attributes:
        file: The JSON.
        folder: Folder of the images.
        labels: Labels of all regions, sorted.
        without: Names of images whose task nobody has annotated.
        notes: Sentences that a user should know.
    """

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        self.path, self.options = path, options
        self.file, self.folder = path, path
        self.labels: list[str] = []
        self.without: list[str] = []
        self.notes: list[str] = []
        self._problems: list[str] = []
        self._used: dict[str, Any] = {}
        self._missing: list[tuple[Any, str]] = []

    def find(self) -> tuple[list[SourceImage], list[str]]:
        """Read the tasks, and look for the images."""
        self.labels, self.without, self.notes, self._problems = [], [], [], []
        self._used, self._missing = {}, []
        try:
            self.file = self._file()
            tasks = self._tasks(read_json(self.file))
            self.folder = image_folder(self.options, self.file.parent / 'images', self.file.parent)
        except (OSError, ValueError) as error:
            return [], [str(error)]
        folder, images, labels = ImageFolder(self.folder), [], set()
        for position, task in enumerate(tasks):
            number = task.get('id', f'at position {position}')
            try:
                results = self._results(task, number)
                if results is None and self.options.get('without_labels') != 'keep':
                    self._skip(task, number, folder)
                    continue
                image = self._image(task, number, folder)
            except ValueError as error:
                self._problems.append(str(error))
                continue
            if results is not None:
                labels.update(n for d in drawn_by(results) if d.kind in AREAS for n in d.labels)
            if image is not None:
                self.without += [image] * (results is None)
                annotation = (number, results or [])
                images.append(SourceImage(image, self.folder / image, None, annotation))
        self._problems = shortened(self._problems)
        self.labels = sorted(labels)
        self._problems += spelling_problems(self.labels, self.file)
        self._conclude(folder)
        return images, self._problems

    def _conclude(self, folder: ImageFolder) -> None:
        """Say which images are missing, and which have no task."""
        if self._missing:
            (number, text), count = self._missing[0], len(self._missing)
            more = f' (and {count - 1} more images)' if count > 1 else ''
            given = '' if self.options.get('images') else '; --images FOLDER says where images are'
            found = missing_image(text, self.folder, f'{self.file}: task {number}')
            self._problems.append(found + more + given)
        unused = [name for name in folder.names if name not in self._used]
        if unused:
            self.notes.append(
                f'{len(unused)} images are in {self.folder} and have no task, and are left out: '
                f'{some(unused[:3])}'
            )

    def _file(self) -> Path:
        if self.path.is_file():
            return self.path
        found = sorted(self.path.glob('*.json'))
        if len(found) != 1:
            raise ValueError(f'{self.path} has {len(found)} JSON files: give that of the export')
        return found[0]

    def _tasks(self, content: Any) -> list[dict]:
        if isinstance(content, dict) and 'data' in content:
            content = [content]  # one task, as in the storage that annotations are synced to
        if not isinstance(content, list) or not all(isinstance(t, dict) for t in content):
            raise ValueError(f'{self.file} is not a JSON export of Label Studio: no list of tasks')
        if content and not any('annotations' in t or 'completions' in t for t in content):
            raise ValueError(
                f'{self.file} has no annotations in its tasks: export as JSON, not as JSON-MIN'
            )
        return content

    def _skip(self, task: Mapping, number: Any, folder: ImageFolder) -> None:
        """Remember a task that is left out; its image may be missing."""
        text = self._image_text(task, number)
        found = next(filter(None, map(folder.named, image_names(text))), text)
        self.without.append(found)
        self._used.setdefault(found, number)

    def _image(self, task: Mapping, number: Any, folder: ImageFolder) -> str | None:
        """Name of the image of a task below the folder; None if it is missing."""
        text = self._image_text(task, number)
        found = next(filter(None, map(folder.named, image_names(text))), None)
        if found is None:
            self._missing.append((number, text))
            return None
        if found in self._used:
            raise ValueError(
                f'{self.file}: task {number} is for image {found!r}, as is task '
                f'{self._used[found]}: remove one, or give their images different names'
            )
        self._used[found] = number
        return found

    def _image_text(self, task: Mapping, number: Any) -> str:
        """The path or URL of the image of a task."""
        data = task.get('data')
        data = data if isinstance(data, dict) else {}
        texts = {key: value for key, value in data.items() if isinstance(value, str)}
        likely = {
            key: text
            for key, text in texts.items()
            if any(Path(n).suffix.lower() in IMAGE_SUFFIXES for n in image_names(text))
        }
        for found in (likely, {key: text for key, text in texts.items() if key == 'image'}):
            if 'image' in found:
                return found['image']
            if len(found) == 1:
                return next(iter(found.values()))
        raise ValueError(
            f'{self.file}: task {number} has the data {some(data)!r}, among which one image is '
            'expected, as "image"'
        )

    def _results(self, task: Mapping, number: Any) -> list[dict] | None:
        """The regions of the annotation that counts; None if nobody has annotated."""
        annotations = task.get('annotations', task.get('completions')) or []
        if not isinstance(annotations, list) or not all(
            isinstance(a, dict) and isinstance(a.get('result'), list) for a in annotations
        ):
            raise ValueError(
                f'{self.file}: task {number} has annotations without a list "result": export the '
                'project as JSON again'
            )
        kept = [a for a in annotations if not a.get('was_cancelled')]
        truths = [a for a in kept if a.get('ground_truth')]
        chosen = truths if truths else kept
        if not chosen:
            return None
        if len(chosen) > 1:
            choice = self.options.get('annotation')
            if choice is None:
                raise ValueError(
                    f'{self.file}: task {number} has {len(chosen)} annotations: mark one as ground '
                    'truth, or give --annotation first or --annotation latest'
                )
            chosen = sorted(chosen, key=lambda a: str(a.get('updated_at') or a.get('created_at')))
            chosen = chosen[:1] if choice == 'first' else chosen[-1:]
        results = chosen[0]['result']
        for result in results:
            place = f'{self.file}: task {number}: a result'
            expect(result, dict, place)
            expect(result.get('id', ''), (str, int, type(None)), f'{place}: id')
        drawn = [d.result for d in drawn_by(results) if d.kind in AREAS]
        targets = {f'{r.get("to_name")} {r.get("item_index", "")}'.strip() for r in drawn}
        if len(targets) > 1:
            raise ValueError(
                f'{self.file}: task {number} has regions on several images '
                f'({some(sorted(targets))}): export tasks of one image each'
            )
        return results
