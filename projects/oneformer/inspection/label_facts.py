"""Facts about the label PNGs of a dataset, and whether they can teach: a finding for each kind."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..datasets.findings import ERROR, WARNING, Finding
from ..datasets.label_teaching import TEACH_NOTHING, judge_teaching
from ..datasets.label_watch import PaletteTable, used_colors, used_values
from ..datasets.semantic import SemanticDataset
from ..datasets.targets_found import names_text, where_of
from ..images.label_files import LabelImage

_MEANINGS = ('value is not a class', 'colour is not a class')
_ROWS = 64  # rows of an image that are searched for mixtures
_MIXED = 0.3  # share of the changes along a row that are mixtures, in labels that were resized
_CHANGES = 100  # changes that are enough for a conclusion
_SHOWN = 8  # values in a message


@dataclass(frozen=True)
class LabelFacts:
    """Facts about one label PNG for the findings of its dataset.

    Attributes:
        path: Path of the file.
        id: Id of the image.
        values: Values that occur, and the pixels of each.
        colors: Colours of these values in the palette.
        note: See ``LabelImage``.
        changes: Pixels whose left and right neighbours differ, in some rows.
        mixed: Pixels among these that lie between the two in value.
    """

    path: str
    id: int | str
    values: Mapping[int, int]
    colors: Mapping[int, tuple[int, ...]]
    note: str | None
    changes: int
    mixed: int


def count_mixtures(values: np.ndarray) -> tuple[int, int]:
    """Count changes of values (H, W) along some rows, and those through a value in between.

    Interpolation and smooth edges put mixtures between two classes, where annotation has a step.
    """
    rows = values[:: max(1, len(values) // _ROWS)]
    left, middle, right = rows[:, :-2], rows[:, 1:-1], rows[:, 2:]
    low, high = np.minimum(left, right), np.maximum(left, right)
    changes = np.count_nonzero(low != high)
    return changes, np.count_nonzero((low < middle) & (middle < high)) if changes else 0


def facts_of_label(label: LabelImage, sample: Mapping) -> LabelFacts:
    """Facts of the label PNG of a sample."""
    values = used_values(label.values)
    colors = used_colors(label, values)
    mixtures = count_mixtures(label.values)
    return LabelFacts(
        sample['seg_map_path'], sample['img_id'], values, colors, label.note, *mixtures
    )


def _notes(facts: Sequence[LabelFacts]) -> list[Finding]:
    """Findings about files that hold numbers in an unusual way."""
    first = {}
    for fact in facts:
        if fact.note:
            first.setdefault(fact.note, fact)
    counts = Counter(fact.note for fact in facts)
    return [
        Finding(
            'label PNG of another kind',
            f'{counts[note]} of {len(facts)} label PNGs, such as {fact.path}, {note}',
            fact.path,
            fact.id,
            WARNING,
        )
        for note, fact in first.items()
    ]


def _palettes(facts: Sequence[LabelFacts]) -> list[Finding]:
    """The first file whose palette contradicts earlier ones, and the first that differs."""
    table, found = PaletteTable(), {}
    for fact in facts:
        finding = table.add(fact.colors, fact.path)
        if finding is not None:
            found.setdefault(finding.severity, finding)
    return [found[ERROR]] if ERROR in found else list(found.values())


def _mixtures(facts: Sequence[LabelFacts]) -> list[Finding]:
    """Findings about label PNGs that look resized with interpolation."""
    found = [f for f in facts if f.mixed > _MIXED * f.changes]
    if sum(f.changes for f in found) < _CHANGES or 2 * len(found) < len(facts):
        return []
    worst = max(found, key=lambda f: f.mixed)
    shown = ', '.join(map(str, list(worst.values)[:_SHOWN]))
    more = ', ...' if len(worst.values) > _SHOWN else ''
    message = (
        f'{len(found)} of {len(facts)} label PNGs, such as {worst.path}, have values in '
        f'between where the value changes ({shown}{more} occur): they look resized with '
        'interpolation, or drawn with smooth edges, and such mixtures of two classes are '
        'another class. Export them again, and resize by nearest neighbour'
    )
    return [Finding('mixed values', message, worst.path, worst.id, WARNING)]


def _without_pixels(dataset: SemanticDataset, counts: Sequence[Mapping]) -> list[Finding]:
    """Findings about classes that the labels should annotate, and that have no pixel."""
    shown = {label for count in counts for label in count['targets']}
    classes, where = dataset.metainfo['classes'], where_of(dataset)
    missing = [classes[label] for label in dataset.annotated_labels if label not in shown]
    if not counts or not missing and len(shown) > 1:
        return []
    if len(shown) < 2:
        names = ', '.join(repr(classes[label]) for label in shown) or 'no class'
        message = (
            f'{where}: {len(counts)} label images show {names} and void alone, so that nothing is '
            'taught: check what values or colours mean by label_classes or label_colors'
        )
        severity = WARNING if shown or dataset.test_mode else ERROR
        return [Finding(TEACH_NOTHING, message, where, None, severity)]
    if dataset.test_mode:
        return []  # a note of the summary; a small set need not have all classes
    names = names_text(missing)
    message = (
        f'{where}: no pixel of {len(counts)} label images shows {names}, which they are said to '
        'annotate: training teaches that it never occurs. Correct what values or colours mean, '
        'or if a class was not annotated leave it out of label_classes or label_colors'
    )
    return [Finding('class without target', message, where, names, WARNING)]


def join_label_facts(
    found: Sequence[Finding | LabelFacts], dataset: SemanticDataset, counts: Sequence[Mapping]
) -> list[Finding]:
    """The findings, followed by one for each kind of facts, and for what is not taught."""
    facts = [fact for fact in found if isinstance(fact, LabelFacts)]
    findings = [finding for finding in found if not isinstance(finding, LabelFacts)]
    if any(finding.kind in _MEANINGS for finding in findings):
        without = []  # what is not taught follows from these
    else:
        without = _without_pixels(dataset, counts)
    if not facts:
        return findings + without
    values = Counter()
    for fact in facts:
        values.update(fact.values)
    teaching = judge_teaching(dataset, values, f'{len(facts)} label PNGs', facts[0].path)
    return [
        *findings,
        *_notes(facts),
        *_palettes(facts),
        *_mixtures(facts),
        *([teaching] if teaching else without),
    ]
