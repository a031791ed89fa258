"""Targets that a dataset can teach, counted from its JSON before the first step.

Nothing is decoded; for label PNGs, which have no JSON, see ``label_sample``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .findings import ERROR, WARNING, Finding
from .searched_classes import SearchCounts

if TYPE_CHECKING:
    from .base import SegmentDataset

CROWD_REMEDY = (
    'Crowds are not targets. CVAT marks each mask of its brush as one: if they are objects, say '
    "crowds='objects' in the dataset, or export polygons; if they are crowds, annotate objects too"
)
_NAMED = 12  # classes in a message


@dataclass
class TargetsFound:
    """Counts of what a dataset annotates.

    Attributes:
        objects: Segments that are not crowds, by label.
        crowds: Crowds by label.
        areas: Segments whose area is stated.
        no_areas: Segments whose stated area is 0.
        looked_at: Images that were counted.
        searches: Counts of images in which classes were looked for; None if the JSON does not tell.
    """

    objects: Counter = field(default_factory=Counter)
    crowds: Counter = field(default_factory=Counter)
    areas: int = 0
    no_areas: int = 0
    looked_at: int = 0
    searches: SearchCounts | None = None


def names_text(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return ', '.join(names[:_NAMED]) + more


def where_of(dataset: SegmentDataset) -> str:
    """The file or folder of a dataset's labels."""
    return dataset.ann_file or dataset.data_prefix.get('seg') or type(dataset).__name__


def count_targets(data_list: Sequence[dict]) -> TargetsFound | None:
    """Count the segments that a JSON lists; None for a dataset without labels."""
    found = TargetsFound()
    for data in data_list:
        segments = data.get('segments_info')
        if segments is None:
            continue
        found.objects.update([s['label'] for s in segments if not s['iscrowd']])
        found.crowds.update([s['label'] for s in segments if s['iscrowd']])
        areas = [s['area'] for s in segments if 'area' in s]
        found.areas += len(areas)
        found.no_areas += areas.count(0)
        found.looked_at += 1
    return found if found.looked_at else None


def missing_targets(dataset: SegmentDataset, found: TargetsFound) -> Iterator[Finding]:
    """Findings about what a dataset cannot teach, with the likely cause."""
    severity = WARNING if dataset.test_mode or not dataset.needs_targets else ERROR
    if not found.objects:
        text = _why_nothing(dataset, found)
        yield Finding('no targets', text, where_of(dataset), None, severity)
        return
    yield from _missing_tasks(dataset, found)
    yield from _missing_classes(dataset, found)
    if found.crowds.total() > found.objects.total():
        total = found.crowds.total() + found.objects.total()
        message = (
            f'{dataset.ann_file}: {found.crowds.total()} of {total} annotated objects are crowds '
            f'(iscrowd=1). {CROWD_REMEDY}'
        )
        yield Finding('mostly crowds', message, dataset.ann_file, None, WARNING)
    if 2 * found.no_areas > found.areas:
        message = (
            f'{dataset.ann_file}: {found.no_areas} of {found.areas} areas are 0: AP takes such '
            'objects for small ones, and PQ takes the area for that of the segment. Write the '
            'number of pixels, or leave area out'
        )
        yield Finding('areas of 0', message, dataset.ann_file, None, WARNING)


def _why_nothing(dataset: SegmentDataset, found: TargetsFound) -> str:
    """The message about a dataset without any target."""
    where = where_of(dataset)
    count = found.looked_at
    start = f'{where}: none of the {count} images has a target, so that nothing can be '
    start += 'scored' if dataset.test_mode else 'learned'
    if found.crowds:
        return f'{start}: all {found.crowds.total()} annotated objects are crowds. {CROWD_REMEDY}'
    if dataset.known_labels == ():
        return (
            f'{start}: no category of the JSON is among the classes '
            f'{names_text(dataset.metainfo["classes"])}: correct metainfo.classes or aliases'
        )
    what = 'annotation' if dataset.labels_kind == 'instance' else 'segment'
    allow = '' if dataset.test_mode else ', or say needs_targets=False if nothing is to be found'
    return (
        f'{start}: there is no {what} of a class. Check that the JSON is of these images, and '
        f'that metainfo.aliases leaves out no class by mistake{allow}'
    )


def _missing_tasks(dataset: SegmentDataset, found: TargetsFound) -> Iterator[Finding]:
    classes, where = dataset.metainfo['classes'], where_of(dataset)
    if len(classes) == 1 and 'semantic' in dataset.tasks:
        message = (
            f'{where}: the only class is {classes[0]!r}, so the semantic task can predict nothing '
            'else, and its mIoU is always 100. Add a class for the rest, as background, that the '
            'labels annotate, or score by PQ and AP and leave SemanticIoU out'
        )
        yield Finding('one class only', message, where, None, WARNING)
    things = [label for label in found.objects if dataset.is_thing[label]]
    if dataset.labels_kind == 'panoptic' and not things:
        crowds = sum(n for label, n in found.crowds.items() if dataset.is_thing[label])
        if crowds:
            why = f'all {crowds} things are crowds. {CROWD_REMEDY}'
        elif any(dataset.is_thing):
            names = [name for name, thing in zip(classes, dataset.is_thing) if thing]
            why = f'no segment is of a thing ({names_text(names)}). Annotate some, or score and '
            why += 'train without this task (SampleTask.probs, test_cfg.tasks)'
        else:
            why = 'metainfo.thing_classes is empty. Name the classes with countable objects there, '
            why += 'or score and train without this task (SampleTask.probs, test_cfg.tasks)'
        message = f'{where}: the instance task has no target: {why}'
        yield Finding('task without targets', message, where, 'instance', WARNING)


def _missing_classes(dataset: SegmentDataset, found: TargetsFound) -> Iterator[Finding]:
    """Classes that the JSON lists, and of which it annotates nothing, or only crowds."""
    classes = dataset.metainfo['classes']
    known = dataset.annotated_labels
    if dataset.labels_kind == 'instance':
        known = [label for label in known if dataset.is_thing[label]]
    never = [] if found.searches is None else found.searches.never(known)
    missing = [label for label in known if not found.objects[label] and label not in never]
    crowds = [classes[label] for label in missing if found.crowds[label]]
    nothing = [classes[label] for label in missing if not found.crowds[label]]
    if never:
        names = names_text([classes[label] for label in never])
        message = (
            f'{dataset.ann_file}: {len(never)} of {len(known)} classes were looked for in none of '
            f'the {found.looked_at} images, so that nothing is taught or scored of them: {names}. '
            'Correct what the images list, or take the categories out of the JSON'
        )
        yield Finding('class not searched', message, dataset.ann_file, names, WARNING)
    if crowds:
        names = names_text(crowds)
        message = (
            f'{dataset.ann_file}: all annotated objects of {len(crowds)} of {len(known)} classes '
            f'are crowds: {names}. {CROWD_REMEDY}'
        )
        yield Finding('class of crowds only', message, dataset.ann_file, names, WARNING)
    if nothing and not dataset.test_mode:
        names = names_text(nothing)
        message = (
            f'{dataset.ann_file} lists {len(known)} classes, and annotates nothing of '
            f'{len(nothing)} of them: {names}. Training teaches that they never occur: add '
            'annotations, correct the category ids, or if they were not annotated take the '
            'categories out of the JSON'
        )
        yield Finding('class without target', message, dataset.ann_file, names, WARNING)
