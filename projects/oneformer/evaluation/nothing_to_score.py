"""Log lines beside the numbers: why a metric is nan, and which classes it leaves out.

Legend: K classes.
"""

import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.logging import print_log

from ..datasets.targets_found import CROWD_REMEDY, names_text

NO_CLASS = 'no class is of this kind, see metainfo.thing_classes'


def why_nothing(objects: np.ndarray, crowds: np.ndarray, split: np.ndarray, kind: str) -> str:
    """Reason why classes have no ground truth; empty if they have.

    Args:
        objects: Number of ground-truth segments that count, (K,).
        crowds: Number of crowds, (K,).
        split: Boolean array (K,) of the classes.
        kind: Kind of the classes: ``'things'``, ``'stuff'``, or empty for all.
    """
    if not split.any():
        return NO_CLASS
    if objects[split].any():
        return ''
    of_kind = f' of {kind}' if kind else ''
    if crowds[split].any():
        number = int(crowds[split].sum())
        return f'all {number} ground-truth segments{of_kind} are crowds. {CROWD_REMEDY}'
    return f'no image has a ground-truth segment{of_kind}'


def tell_nan(
    metric: str,
    scores: Mapping[str, float],
    reasons: Mapping[str, str],
    level: int = logging.WARNING,
) -> None:
    """Log why scores are nan, of those for whose names there is a reason."""
    names_of: dict[str, list[str]] = {}
    for name, score in scores.items():
        if math.isnan(score) and reasons.get(name):
            names_of.setdefault(reasons[name], []).append(name)
    for reason, names in names_of.items():
        verb = 'is' if len(names) == 1 else 'are'
        print_log(
            f'{metric}: {", ".join(names)} {verb} nan: {reason}',
            logger='current',
            level=logging.INFO if reason == NO_CLASS else level,
        )


def tell_missing_classes(
    metric: str,
    classes: Sequence[str],
    objects: np.ndarray,
    crowds: np.ndarray,
    split: np.ndarray,
    known: Sequence[int] | None = None,
) -> None:
    """Log which classes have no ground truth, if others have.

    Args:
        metric: Name of the metric.
        classes: Names of the K classes.
        objects: See ``why_nothing``.
        crowds: See ``why_nothing``.
        split: Boolean array (K,) of the classes that the metric covers.
        known: Labels that the labels annotate; None for all.
    """
    missing = np.flatnonzero(split & (objects == 0)).tolist()
    if not missing or not objects[split].any():
        return
    unknown = [label for label in missing if known is not None and label not in known]
    only = [label for label in missing if label not in unknown and crowds[label]]
    never = [label for label in missing if label not in unknown and not crowds[label]]
    parts = [
        f'{what} {names_text([classes[label] for label in labels])}'
        for what, labels in (
            ('none annotated:', never),
            ('only crowds (iscrowd=1):', only),
            ('not among the categories of the labels:', unknown),
        )
        if labels
    ]
    print_log(
        f'{metric}: {len(missing)} of {int(split.sum())} classes have no ground truth and are '
        f'nan, or 0 where they are predicted: {"; ".join(parts)}',
        logger='current',
        level=logging.WARNING if only else logging.INFO,
    )
