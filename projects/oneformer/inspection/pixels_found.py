"""Findings from the pixels of a whole dataset, beyond those from its JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence

from ..datasets.base import SegmentDataset
from ..datasets.findings import ERROR, WARNING, Finding
from ..datasets.targets_found import names_text, where_of
from .areas import sum_up_areas


def sum_up(
    dataset: SegmentDataset, counts: Sequence[Mapping], before: Sequence[Finding]
) -> list[Finding]:
    """Findings about all images of a dataset together.

    Args:
        dataset: The dataset.
        counts: Counts of its images, from ``check_sample``.
        before: Findings from when the dataset was built.
    """
    wrong = [error for count in counts for error in count['wrong_areas']]
    segments = sum(len(count['targets']) + len(count['crowds']) for count in counts)
    found = sum_up_areas(dataset.ann_file, wrong, segments)
    said = any(f.kind in ('no targets', 'normalised polygons') for f in before)
    if said or not counts or dataset.labels_kind == 'semantic':  # see ``label_teaching``
        return found
    shown = Counter(label for count in counts for label in count['targets'])
    return found + _without_pixels(dataset, shown, len(counts))


def _without_pixels(dataset: SegmentDataset, shown: Counter, images: int) -> list[Finding]:
    """The finding that no class has a pixel, or that some promised classes have none; or []."""
    where = where_of(dataset)
    if not shown:
        severity = WARNING if dataset.test_mode or not dataset.needs_targets else ERROR
        message = (
            f'{where}: no pixel of the {images} images that could be read belongs to a target: '
            'there is nothing to learn or to score. Correct what is found beside this'
        )
        return [Finding('no targets', message, where, None, severity)]
    if dataset.test_mode:
        return []  # a note of the summary; a small set need not have all classes
    classes = dataset.metainfo['classes']
    promised = sorted(dataset.targets_found.objects) if dataset.targets_found else []
    missing = [label for label in promised if not shown[label]]
    if not missing:
        return []
    names = names_text([classes[label] for label in missing])
    message = (
        f'{where}: no pixel of any image shows {names}, which the labels are said to annotate: '
        'training teaches that they never occur. Correct the labels or what their values mean, '
        'or leave out the classes'
    )
    return [Finding('class without target', message, where, names, WARNING)]
