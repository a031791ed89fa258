"""Which of a dataset's own numbers stands for a class in result files.

Aliases let several categories of a JSON, or several values of label PNGs, mean one class. A result
names one of them, by one rule, so that it can be scored against the files that it came from.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log

from ..class_matching import normalise

# keys of a dataset's metainfo that a JointDataset puts together from its datasets
WRITTEN = ('category_ids', 'label_values', 'void_value')


def _whole(value: Any) -> int | None:
    """A category id as a number, also where it is written as a text."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def count_categories(annotations: Any) -> Counter:
    """Annotations (or panoptic segments) of each category id; faulty entries are left out."""
    entries = annotations if isinstance(annotations, list) else []
    entries = [entry for entry in entries if isinstance(entry, Mapping)]
    infos = [entry['segments_info'] for entry in entries if 'segments_info' in entry]
    infos = [info for info in infos if isinstance(info, list)]
    segments = [s for info in infos for s in info if isinstance(s, Mapping)]
    return Counter(_whole(entry.get('category_id')) for entry in (*entries, *segments))


def choose_number(name: str, candidates: Sequence[tuple[int, str]], counts: Mapping) -> int:
    """The number that stands for a class.

    It is that of the name of the class, spelled exactly so or else by the rule of
    ``class_matching``; else the one with most annotations, and of several the lowest.

    Args:
        name: Name of the class.
        candidates: Number and name of each category that means the class.
        counts: Number of annotations by category id.
    """

    def rank(candidate: tuple[int, str]) -> tuple:
        number, other = candidate
        alike = other.strip() == name.strip()
        return alike, normalise(other) == normalise(name), counts.get(number, 0), -number

    return max(candidates, key=rank)[0]


def group_by_label(label_of: Mapping[int, int | None], num_classes: int) -> list[list[int]]:
    """The numbers that mean each label."""
    numbers = [[] for _ in range(num_classes)]
    for number, label in label_of.items():
        if label is not None:
            numbers[label].append(number)
    return numbers


def category_of_label(
    content: Mapping, label_of: Mapping[int, int | None], metainfo: Mapping, ann_file: str
) -> tuple[int | None, ...]:
    """The category id that result files give each label, None where the JSON has none.

    Where several categories are one class the choice is logged.

    Args:
        content: Content of the JSON, with lists ``categories`` and ``annotations``.
        label_of: Category id to label, None for what is left out.
        metainfo: Dict with ``classes``.
        ann_file: The JSON, for messages.
    """
    numbers = group_by_label(label_of, len(metainfo['classes']))
    if max(map(len, numbers)) <= 1:
        return tuple(own[0] if own else None for own in numbers)
    entries = [entry for entry in content['categories'] if isinstance(entry, Mapping)]
    names = {_whole(entry.get('id')): str(entry.get('name')) for entry in reversed(entries)}
    counts = count_categories(content['annotations'])
    chosen = []
    for name, own in zip(metainfo['classes'], numbers):
        candidates = [(number, names.get(number, '')) for number in own]
        chosen.append(choose_number(name, candidates, counts) if own else None)
        if len(own) > 1:
            _tell_categories(ann_file, name, chosen[-1], candidates, counts)
    return tuple(chosen)


def _tell_categories(
    ann_file: str, name: str, chosen: int, candidates: Sequence[tuple[int, str]], counts: Counter
) -> None:
    """Log which category stands for a class, and what scoring against the JSON then misses."""
    listed = ', '.join(f'{n} ({other!r}, {counts[n]} annotations)' for n, other in candidates)
    others = [(n, other) for n, other in candidates if n != chosen and counts[n]]
    message = (
        f'{ann_file}: class {name!r} stands for the categories {listed}. Result files call it '
        f'category {chosen}'
    )
    if others:
        named = ' and '.join(f'{counts[n]} annotations of {other!r} ({n})' for n, other in others)
        message += (
            '. oneformer test scores them as one class; scored against this JSON as it is, '
            f'{named} count as missed, and what finds them as wrong: give them category_id '
            f'{chosen} in the copy that you score with'
        )
    print_log(message, logger='current', level=logging.WARNING if others else logging.INFO)


def value_of_label(
    values: Mapping[int, str | None], label_of_name: Mapping, classes: Sequence[str], where: str
) -> tuple[int | None, ...]:
    """The value that written label PNGs give each label, None where the dataset has none.

    Args:
        values: Value of the dataset's label PNGs to name, None for void.
        label_of_name: Name to label, None for what is left out.
        classes: Names of the classes.
        where: The PNGs, for messages.
    """
    label_of = {value: label_of_name.get(name) for value, name in values.items()}
    chosen = []
    for name, own in zip(classes, group_by_label(label_of, len(classes))):
        candidates = [(value, str(values[value])) for value in own]
        chosen.append(choose_number(name, candidates, {}) if own else None)
        if len(own) > 1:
            listed = ', '.join(f'{value} ({other!r})' for value, other in candidates)
            print_log(
                f'{where}: class {name!r} stands for the values {listed}. Result files call it '
                f'{chosen[-1]}',
                logger='current',
            )
    return tuple(chosen)


def fill_numbers(
    numbers: Sequence[int | None], taken: Sequence[int] = ()
) -> tuple[list[int], list[int]]:
    """Give labels without a number the lowest ones above all others.

    Returns:
        The numbers, and the labels with a new one.
    """
    free = max((n for n in (*numbers, *taken) if n is not None), default=-1) + 1
    filled, new = [], []
    for label, number in enumerate(numbers):
        filled.append(free + len(new) if number is None else number)
        if number is None:
            new.append(label)
    return filled, new


def join_numbers(metainfos: Sequence[Mapping], names: Sequence[str]) -> dict:
    """The numbers of several datasets of the same classes: the first dataset that has one decides.

    A number that is taken is not given to a second class. Where datasets differ, the log says
    whose numbers result files have.

    Returns:
        Values of the keys of ``WRITTEN`` that some dataset has.
    """
    joined = {}
    for key in WRITTEN[:2]:
        owners = [(name, meta[key]) for name, meta in zip(names, metainfos) if meta.get(key)]
        if not owners:
            continue
        numbers = list(owners[0][1])
        classes = metainfos[0]['classes']
        for name, own in owners[1:]:
            differing = [
                f'{classes[label]!r} is {ours} there and {theirs} in {name}'
                for label, (ours, theirs) in enumerate(zip(numbers, own))
                if None not in (ours, theirs) and ours != theirs
            ]
            if differing:
                print_log(
                    f'the sets of the JointDataset differ in {key}, and result files have those of '
                    f'{owners[0][0]}: {"; ".join(differing[:5])}',
                    logger='current',
                    level=logging.WARNING,
                )
            for label, theirs in enumerate(own):
                if numbers[label] is None and theirs not in numbers:
                    numbers[label] = theirs
        joined[key] = tuple(numbers)
    void = next((meta['void_value'] for meta in metainfos if 'void_value' in meta), None)
    return joined if void is None else {**joined, 'void_value': void}


def tell_other_numbers(ours: Mapping, theirs: Mapping) -> None:
    """Warn where the validation dataset has other numbers for classes than the training dataset."""
    for key in WRITTEN[:2]:
        pairs = zip(
            *(
                meta.get(name) or ()
                for meta, name in ((ours, key), (theirs, key), (ours, 'classes'))
            )
        )
        differing = [
            f'{name!r} is {a} in training and {b} in validation'
            for a, b, name in pairs
            if None not in (a, b) and a != b
        ]
        if differing:
            print_log(
                f'{key} of training and validation differ: {"; ".join(differing[:5])}. Result '
                'files of oneformer test have those of the set that is tested, predictions of '
                'oneformer predict those of training',
                logger='current',
                level=logging.WARNING,
            )
