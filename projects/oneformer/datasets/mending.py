"""Read a JSON in COCO format, also in common variants of it, see ``readings``."""

from collections.abc import Mapping
from typing import Any

from .file_names import Folder, read_names, read_urls
from .findings import OnFinding
from .polygons import as_polygons
from .readings import Readings, flag, number, read_ids, read_lists, read_numbers, whole
from .searched_classes import KEYS as SEARCH_KEYS


def _dicts(entries: Any) -> list[dict]:
    return [entry for entry in entries if type(entry) is dict] if type(entries) is list else []


def mend(
    content: Mapping, kind: str, folders: Mapping[str, Folder], ann_file: str, report: OnFinding
) -> None:
    """Replace, in place, values written in another way than COCO's that mean one thing only.

    Args:
        content: Content of the JSON, with ``images``, ``annotations`` (None for a test set) and
            ``categories``, which may be anything.
        kind: ``'panoptic'`` or ``'instance'``.
        folders: Folders ``img`` of the image files and ``seg`` of the PNGs; ``{}`` to leave names.
        ann_file: The JSON, for messages.
        report: Callback for a warning for each kind of replacement.
    """
    readings = Readings(ann_file)
    images, annotations, categories = (
        _dicts(content[key]) for key in ('images', 'annotations', 'categories')
    )
    read_numbers(categories, dict(id=whole, isthing=flag), 'category', readings)
    read_numbers(images, dict(height=whole, width=whole), 'image', readings)
    _floats_to_whole(images, 'id', 'image', readings)
    read_lists(images, SEARCH_KEYS, 'image', readings)
    if 'img' in folders:
        read_urls(images, folders['img'], readings)
        read_names(images, folders['img'], 'image', readings)
    ids = {image.get('id') for image in images if type(image.get('id')) in (int, str)}
    read_ids(annotations, 'image_id', ids, 'annotation', readings)
    if kind == 'panoptic':
        _mend_segments(annotations, readings)
        if 'seg' in folders:
            read_names(annotations, folders['seg'], 'annotation', readings)
    else:
        _floats_to_whole(annotations, 'id', 'annotation', readings)
        keys = dict(category_id=whole, iscrowd=flag, area=number)
        read_numbers(annotations, keys, 'annotation', readings)
        _mend_polygons(annotations, readings)
    readings.tell(report)


def _floats_to_whole(entries: list[dict], key: str, what: str, readings: Readings) -> None:
    """Ids may be texts, so only floats are read as whole numbers."""
    floats = [entry for entry in entries if type(entry.get(key)) is float]
    read_numbers(floats, {key: whole}, what, readings)


def _mend_segments(annotations: list[dict], readings: Readings) -> None:
    keys = dict(id=whole, category_id=whole, iscrowd=flag, area=number)
    for annotation in annotations:
        segments = annotation.get('segments_info')
        if type(segments) is list:
            what = f'segment of image id {annotation.get("image_id")!r}'
            read_numbers(segments, keys, what, readings)


def _mend_polygons(annotations: list[dict], readings: Readings) -> None:
    for annotation in annotations:
        before = annotation.get('segmentation')
        if not before:
            continue
        try:
            polygons, kind = as_polygons(before)
        except ValueError:  # the dataset reports it
            continue
        if kind is not None:
            identity = annotation.get('id')
            name = f'segmentation of annotation {identity!r}'
            readings.note(kind, name, before, polygons, identity)
            annotation['segmentation'] = polygons
