"""Read ``model.json`` with errors that name file, key and remedy, and write it."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .description import (
    FILE_NAME,
    FORMAT,
    FORMAT_VERSION,
    GRAPH_NAME,
    TASKS,
    VARIANTS,
    DescriptionError,
    ImageSettings,
    ModelDescription,
    Thresholds,
    Variant,
)
from .rules import ImageRules

_AGAIN = 'export the model again'


class _Reader:
    """Takes values out of the nested dict of a file, and names what is wrong with one."""

    def __init__(self, content: Any, path: Path) -> None:
        self.path = path
        if not isinstance(content, dict):
            raise DescriptionError(f'{path} holds no object of JSON: {_AGAIN}')
        self.content = content

    def fail(self, key: str, what: str, remedy: str = _AGAIN) -> DescriptionError:
        return DescriptionError(f'{self.path}: {key} {what}: {remedy}')

    def get(self, key: str, fits: Callable[[Any], bool], wanted: str, **default: Any) -> Any:
        """The value at a key such as ``image.divisor``; ``default=`` where it may be left out."""
        value: Any = self.content
        for part in key.split('.'):
            if not isinstance(value, dict) or part not in value:
                if default:
                    return default['default']
                raise self.fail(key, 'is missing')
            value = value[part]
        if not fits(value):
            raise self.fail(key, f'is {_short(value)}, not {wanted}')
        return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:60]}...'


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_divisor(value: Any) -> bool:
    return _is_count(value) and value % 4 == 0


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_colour(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(part, int | float) and 0 <= part <= 255 for part in value)
    )


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_file_name(value: Any) -> bool:
    return _is_text(value) and value not in ('', '.', '..') and os.path.basename(value) == value


def _check_format(reader: _Reader) -> None:
    if reader.content.get('format') != FORMAT:
        found = _short(reader.content.get('format'))
        raise reader.fail(
            'format', f'is {found}, not {FORMAT!r}', 'give the folder of an exported OneFormer'
        )
    version = reader.get('format_version', _is_count, 'a whole number from 1')
    if version > FORMAT_VERSION:
        raise reader.fail(
            'format_version',
            f'is {version}, and this runtime reads {FORMAT_VERSION} at most',
            'install a newer oneformer-runtime, or oneformer',
        )
    reader.get('tasks', lambda v: v == list(TASKS), f'{list(TASKS)}, in this order')
    reader.get('masks.interpolation', lambda v: v == 'bilinear', "'bilinear'")


def _image(reader: _Reader) -> ImageSettings:
    def is_size(value: Any) -> bool:
        divisor = reader.content['image']['divisor']
        return value is None or (
            isinstance(value, list)
            and len(value) == 2
            and all(_is_count(side) and side % divisor == 0 for side in value)
        )

    count = 'a whole number from 1'
    settings = dict(
        short_edge=reader.get('image.short_edge', _is_count, count),
        max_size=reader.get('image.max_size', _is_count, count),
        divisor=reader.get('image.divisor', _is_divisor, 'a multiple of 4'),
        padding=tuple(reader.get('image.padding', _is_colour, 'three numbers from 0 to 255')),
    )
    size = reader.get('image.size', is_size, '[height, width], multiples of image.divisor, or null')
    settings['size'] = None if size is None else tuple(size)
    for key in ('orientation', 'value_range'):
        settings[key] = reader.get(f'image.{key}', lambda _: True, '')
        try:
            ImageRules(**{key: settings[key]})
        except ValueError as error:
            raise reader.fail(f'image.{key}', f'cannot be used ({error})') from error
    return ImageSettings(**settings)


def _classes(reader: _Reader) -> dict:
    """The classes, and what there is of each."""
    names = 'a list of different names'
    classes = reader.get('classes', lambda v: _is_names(v) and v, names)
    things = reader.get('thing_classes', _is_names, names)
    if unknown := [name for name in things if name not in classes]:
        raise reader.fail('thing_classes', f'names {unknown[0]!r}, which is not among the classes')
    K = len(classes)
    lists = dict(
        palette=(lambda v: all(map(_is_colour, v)), f'null or {K} colours [R, G, B]'),
        category_ids=(
            lambda v: all(i is None or isinstance(i, int) for i in v),
            f'null or {K} whole numbers or nulls',
        ),
    )
    found: dict = dict(classes=tuple(classes), thing_classes=tuple(things))
    for key, (fits, wanted) in lists.items():

        def of_each(value: Any, fits: Callable = fits) -> bool:
            return value is None or isinstance(value, list) and len(value) == K and fits(value)

        default = {} if key == 'palette' else dict(default=None)
        value = reader.get(key, of_each, wanted, **default)
        found[key] = (
            None
            if value is None
            else tuple(tuple(item) if isinstance(item, list) else item for item in value)
        )
    return found


def _variants(reader: _Reader) -> dict[str, Variant]:
    known = f'an object of {", ".join(VARIANTS)}'
    found = reader.get(
        'variants', lambda v: isinstance(v, dict) and set(v) <= set(VARIANTS), known, default={}
    )
    return {
        name: Variant(
            reader.get(f'variants.{name}.file', _is_file_name, 'the name of a file in the folder'),
            reader.get(f'variants.{name}.sha256', _is_text, 'a text'),
            reader.get(f'variants.{name}.scores', _is_object, 'an object', default={}),
        )
        for name in found
    }


def _parse(reader: _Reader) -> ModelDescription:
    _check_format(reader)
    words = f'one or more of {", ".join(TASKS)}'
    tasks = reader.get(
        'default_tasks', lambda v: _is_names(v) and v and set(v) <= set(TASKS), words
    )
    share = 'a number from 0 to 1'
    thresholds = Thresholds(
        float(reader.get('thresholds.object_mask_thr', _is_share, share)),
        float(reader.get('thresholds.iou_thr', _is_share, share)),
        reader.get('thresholds.max_per_image', _is_count, 'a whole number from 1'),
    )
    return ModelDescription(
        **_classes(reader),
        image=_image(reader),
        thresholds=thresholds,
        default_tasks=tuple(tasks),
        token=reader.get('token', lambda v: v is None or v in TASKS, words, default=None),
        name=reader.get('name', _is_text, 'a text'),
        licence=reader.get('licence', _is_text, 'a text'),
        graph=reader.get('model.file', _is_file_name, 'the name of a file in the folder'),
        sha256=reader.get('model.sha256', _is_text, 'a text'),
        versions=reader.get('versions', _is_object, 'an object', default={}),
        agreement=reader.get('agreement', _is_object, 'an object', default={}),
        variants=_variants(reader),
    )


def is_exported(folder: str | os.PathLike) -> bool:
    """Whether a folder is one of an exported model, or what is left of one."""
    folder = Path(folder)
    if (folder / GRAPH_NAME).is_file() and not (folder / 'config.json').is_file():
        return True  # with it, it is a folder of Hugging Face
    return (folder / FILE_NAME).is_file()


def exported_folder(weights: object) -> Path | None:
    """The folder of an exported model, if weights are one or a file of it, else None."""
    if not isinstance(weights, str | os.PathLike):
        return None
    path = Path(weights)
    if path.is_file() and path.name in (FILE_NAME, GRAPH_NAME):
        path = path.parent
    return path if is_exported(path) else None


def parse_description(content: Any, path: str | os.PathLike = FILE_NAME) -> ModelDescription:
    """Check the content of a ``model.json``.

    Args:
        content: What its JSON holds.
        path: Its path, for messages.

    Raises:
        DescriptionError: With file, key and remedy, if a key is missing or wrong, or the file is of
            a newer format.
    """
    return _parse(_Reader(content, Path(path)))


def read_description(folder: str | os.PathLike) -> ModelDescription:
    """Read and check the ``model.json`` of a folder.

    Raises:
        FileNotFoundError: If the folder or the file does not exist.
        DescriptionError: See ``parse_description``; also if it is not JSON.
    """
    path = Path(folder) / FILE_NAME
    try:
        text = path.read_text(encoding='utf-8')
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f'{path} does not exist: give the folder of an exported OneFormer, which has '
            f'{FILE_NAME} and {GRAPH_NAME}'
        ) from error
    except UnicodeDecodeError as error:
        raise DescriptionError(f'{path} is not text in UTF-8 ({error}): {_AGAIN}') from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DescriptionError(f'{path} is not JSON ({error}): {_AGAIN}') from error
    return parse_description(content, path)


def file_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def write_description(description: ModelDescription, folder: str | os.PathLike) -> Path:
    """Write the ``model.json`` of a folder, whose graph is there, and return its path.

    The file is written beside and replaces another when it is complete. It gets the hashes of the
    graphs' files.

    Raises:
        FileNotFoundError: If the graph is not there.
        DescriptionError: If the description would be refused on reading.
    """
    folder = Path(folder)
    content = description.content()
    for graph in (content['model'], *content['variants'].values()):
        graph['sha256'] = file_hash(folder / graph['file'])
    path = folder / FILE_NAME
    content = json.loads(json.dumps(content, allow_nan=False))
    parse_description(content, path)
    temporary = folder / f'.{FILE_NAME}.{os.getpid()}.tmp'
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(f'{text}\n', encoding='utf-8')
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
