"""Findings and statistics of datasets: as numbers, and as text for a terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from terminaltables import AsciiTable

from ..datasets.base import SegmentDataset
from ..datasets.findings import ERROR, Finding
from ..datasets.searched_classes import SearchCounts
from ..object_limits import Limits, find_peaks, limit_notes
from .advice import advice_text
from .overlaps import overlap_note, sum_hidden


@dataclass(frozen=True)
class Checked:
    """Result of checking a dataset.

    Attributes:
        findings: Faults of the dataset.
        summary: Statistics, see ``summarize``; None if the dataset cannot be built.
    """

    findings: Sequence[Finding]
    summary: Mapping | None


def summarize(dataset: SegmentDataset, counts: Sequence[Mapping], limits: Limits) -> dict:
    """Statistics of a dataset, for ``summary_text`` and as JSON."""
    classes = dataset.metainfo['classes']
    segments, crowds = (
        Counter(label for count in counts for label in count[key]) for key in ('targets', 'crowds')
    )
    annotated, searches = dataset.annotated_labels, _searches_of(dataset)
    per_image = [len(count['targets']) for count in counts]
    pixels = sum(count['pixels'] for count in counts)
    notes = []
    images = Counter(label for c in counts for label in {*c['targets'], *c['crowds']})
    unused = [classes[k] for k in annotated if not images[k]]
    if counts and unused:
        notes.append(
            f'{len(unused)} of {len(annotated)} annotated classes have no segment: '
            f'{", ".join(unused)}'
        )
    notes += _limits_in_the_way(dataset, counts, limits)
    hidden = sum_hidden(counts)
    if hidden is not None:
        notes.append(overlap_note(hidden, len(counts), dataset.overlaps, dataset.on_top))
    return dict(
        type=type(dataset).__name__,
        ann_file=dataset.ann_file,
        images=len(dataset),
        labelled_images=len(counts),
        segments=sum(per_image),
        crowds=crowds.total(),
        segments_per_image=dict(
            mean=float(np.mean(per_image)) if counts else 0.0, max=max(per_image, default=0)
        ),
        # with instance labels all other pixels are background
        void_share=sum(count['void'] for count in counts) / pixels
        if counts and dataset.labels_kind != 'instance'
        else None,
        overlaps=hidden,
        tasks=list(dataset.tasks) if counts else [],
        classes={
            classes[k]: dict(
                kind='thing' if dataset.is_thing[k] else 'stuff',
                images=images[k],
                segments=segments[k],
                crowds=crowds[k],
                **({} if searches is None else _searched(searches, k)),
            )
            for k in annotated
        },
        not_annotated=[name for k, name in enumerate(classes) if k not in annotated],
        notes=notes,
    )


def _searches_of(dataset: SegmentDataset) -> SearchCounts | None:
    """Counts of images in which classes were looked for; None if the labels do not say it."""
    return None if dataset.targets_found is None else dataset.targets_found.searches


def _searched(searches: SearchCounts, label: int) -> dict:
    """Number of images in which a class was looked for, and in which it is annotated in part."""
    whole, partly = searches.images[label], searches.partly[label]
    return dict(searched=whole + partly, not_exhaustive=partly)


def _limits_in_the_way(
    dataset: SegmentDataset, counts: Sequence[Mapping], limits: Limits
) -> list[str]:
    """A note for each limit of the config that is lower than a peak of the dataset."""
    if dataset.labels_kind == 'semantic':  # a target is a class, not an object
        limits = replace(limits, max_per_image=None, max_dets=None)
    images = [(count['img_id'], count['targets']) for count in counts]
    of_class = [Counter(k for k in labels if dataset.is_thing[k]) for _, labels in images]
    per_image = dict(
        targets=[len(labels) for _, labels in images],
        things=[counted.total() for counted in of_class],
        of_class=[max(counted.values(), default=0) for counted in of_class],
    )
    peaks = find_peaks(images, dataset.is_thing)
    return limit_notes(limits, peaks, dataset.metainfo['classes'], per_image)


def count_errors(checked: Mapping[str, Checked]) -> int:
    """Number of findings that are errors."""
    return sum(f.severity == ERROR for found in checked.values() for f in found.findings)


def findings_text(checked: Mapping[str, Checked], first: int) -> str:
    """The findings by kind, errors before warnings, and of each kind the first few."""
    kinds = {}
    for name, found in checked.items():
        for finding in found.findings:
            key = finding.severity != ERROR, finding.severity, finding.kind
            kinds.setdefault(key, []).append(f'  {name}: {finding.message}')
    lines = []
    for (_, severity, kind), messages in sorted(kinds.items()):
        lines += [f'{severity}: {kind} ({len(messages)})', *messages[:first]]
        if len(messages) > first:
            lines.append(f'  and {len(messages) - first} more, see --out-json')
    return '\n'.join(lines or ['nothing is wrong with the labels'])


def summary_text(checked: Mapping[str, Checked]) -> str:
    """A table of the datasets, one of their classes, and the notes."""
    summaries = {name: found.summary for name, found in checked.items() if found.summary}
    if not summaries:
        return ''
    sets = [
        [
            name,
            s['type'],
            s['images'],
            s['segments'],
            s['crowds'],
            f'{s["segments_per_image"]["mean"]:.1f}',
            s['segments_per_image']['max'],
            '-' if s['void_share'] is None else f'{100 * s["void_share"]:.2f}',
            ', '.join(s['tasks']) or 'none',
        ]
        for name, s in summaries.items()
    ]
    header = ['set', 'labels', 'images', 'segments', 'crowds', 'per image', 'most', 'void %']
    kinds = {k: c['kind'] for s in summaries.values() for k, c in s['classes'].items()}
    classes = [
        [name, kind, *(_class_cell(s['classes'].get(name)) for s in summaries.values())]
        for name, kind in kinds.items()
        if any(_has_something(s['classes'].get(name)) for s in summaries.values())
    ]
    lines = [AsciiTable([[*header, 'can teach'], *sets]).table]
    if classes:
        lines += [
            'Segments (and crowds) per class, without classes that have none; - is not annotated',
            AsciiTable([['class', '', *summaries], *classes]).table,
        ]
    for name, s in summaries.items():
        lines += [f'{name}: note: {note}' for note in s['notes']]
    for name, s in summaries.items():
        lines += advice_text(name, s['advice']) if 'advice' in s else []
    return '\n'.join(lines)


def _class_cell(counts: Mapping | None) -> str:
    """Segments and crowds of a class in a dataset that annotates it, or None."""
    if counts is None:
        return '-'
    text = f'{counts["segments"]}' + (f' ({counts["crowds"]})' if counts['crowds'] else '')
    if 'searched' in counts:
        text += f', searched in {counts["searched"]}'
        if counts['not_exhaustive']:
            text += f', not exhaustively in {counts["not_exhaustive"]}'
    return text


def _has_something(counts: Mapping | None) -> bool:
    """Whether a class has a row: it has a segment, or images that were searched for it."""
    return counts is not None and bool(counts['images'] or counts.get('searched'))
