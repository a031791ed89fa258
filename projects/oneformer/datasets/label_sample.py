"""A look at a few label PNGs before the first step: whether they can teach anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .findings import ERROR, WARNING, Finding
from .label_images import read_label_png
from .label_teaching import judge_teaching
from .label_watch import used_values

if TYPE_CHECKING:
    from .semantic import SemanticDataset

_LOOKED_AT = 16  # label PNGs


def _values_of(sample: dict) -> dict[int, int] | None:
    """Number of pixels of each value of a label PNG; None if the loader cannot use the PNG."""
    found, labels, sample['ori_shape'] = [], [], ()
    try:
        read_label_png(sample, found.append, lambda label, _: labels.append(label.values))
    except (OSError, ValueError):
        return None
    if not labels or any(f.severity == ERROR and f.kind != 'sizes differ' for f in found):
        return None
    return used_values(labels[0])


def judge_some(dataset: SemanticDataset) -> Iterator[Finding]:
    """Judge a few label PNGs, spread over a dataset; see ``judge_teaching``.

    The finding is an error only if these are all PNGs of a dataset that is trained on.
    """
    total, values, looked_at, path = len(dataset), Counter(), 0, None
    indices = np.unique(np.linspace(0, total - 1, _LOOKED_AT).round().astype(int))
    for index in indices.tolist() if total else ():
        sample = dataset.get_data_info(index)
        found = _values_of(sample)
        if found is not None:
            values.update(found)
            path, looked_at = path or sample['seg_map_path'], looked_at + 1
    if not looked_at:
        return
    images = f'the {looked_at} label PNGs that were looked at, of {total}'
    finding = judge_teaching(dataset, values, images, path)
    if finding is None:
        return
    mild = looked_at < total or dataset.test_mode or not dataset.needs_targets
    mild = mild or _is_meant(dataset, values)
    yield replace(finding, severity=WARNING) if mild else finding


def _is_meant(dataset: SemanticDataset, values: Counter) -> bool:
    """Whether a class is taught, and some values are void because the config names them."""
    meaning = dataset.segment_of_value
    void = [value for value in values if meaning[value] == 0]
    named = [value for value in void if not dataset.void_by_option([value])]
    return bool(named) and any(meaning[value] > 0 for value in values)
