"""Whether the values of label PNGs can teach to distinguish two classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .findings import ERROR, WARNING, Finding
from .label_hints import suggest_classes

if TYPE_CHECKING:
    from .semantic import SemanticDataset

TEACH_NOTHING = 'labels teach nothing'  # kind of the finding
_SHOWN = 8  # values in a message


def _share(values: Mapping[int, int], total: int) -> str:
    shown = sorted(values, key=values.get, reverse=True)[:_SHOWN]
    parts = (f'{value} in {100 * values[value] / total:.3g} % of the pixels' for value in shown)
    more = ', ...' if len(values) > _SHOWN else ''
    return ', '.join(parts) + more


def judge_teaching(
    dataset: SemanticDataset, values: Mapping[int, int], images: str, path: str
) -> Finding | None:
    """Whether label PNGs teach to distinguish two classes.

    Args:
        dataset: Dataset of the PNGs.
        values: Number of pixels of each value that occurs in them.
        images: Number of the PNGs in words, for the message.
        path: Path of one of them, for the message.

    Returns:
        An error if no pixel is taught, or those of one class and all others are void by an option
        that nobody may have thought of; a warning if one class is taught and the others are void
        by name, or there are no others.
    """
    meaning, total = dataset.segment_of_value, sum(values.values())
    taught = {v: n for v, n in values.items() if meaning[v] > 0}
    void = {v: n for v, n in values.items() if meaning[v] == 0}
    name_of = {v: dataset.segments_info[meaning[v] - 1]['category'] for v in taught}
    names = set(name_of.values())
    if len(names) > 1 or len(taught) + len(void) < len(values) or not total:
        return None
    classes = [segment['category'] for segment in dataset.segments_info]
    what = f'the only class with pixels in {images}, such as {path},'
    one_class = bool(names)
    if names:
        text = f'{what} is {names.pop()!r} (value {_share(taught, total)})'
    else:
        text = f'{images}, such as {path}, have no pixel of a class'
    if len(classes) == 1 and names:
        text += ', the only class that is annotated'
    text += ', so that nothing is taught.'
    if void:
        text += f' Void, which is ignored, are the values {_share(void, total)}.'
    chosen = dataset.void_by_option(void)
    if chosen:
        text += (
            f' Void by {" and ".join(chosen)}: if a value of it is a class, as in masks of 0 and '
            f'255, say {suggest_classes(list(values), classes, name_of)}'
        )
        if one_class:
            text += '; if one class is all that this set annotates, needs_targets=False'
        if dataset.source is not None:
            text += ' (a SemanticDataset that has the folders itself, without dataset=..., can)'
    elif void:
        text += ' Check label_classes of the dataset'
    elif taught:
        text += ' Check whether the annotation was exported with all classes'
    by_option_alone = bool(chosen) and len(chosen) == len(void)
    severity = ERROR if by_option_alone or not taught else WARNING
    return Finding(TEACH_NOTHING, text, path, None, severity)
