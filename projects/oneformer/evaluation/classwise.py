"""Numbers per class beside the averages."""

from collections.abc import Mapping

import numpy as np
from mmengine.logging import print_log
from terminaltables import AsciiTable

from .image_metric import ImageMetric
from .nothing_to_score import tell_missing_classes, tell_nan, why_nothing


def mean(values: np.ndarray) -> float:
    """Mean of the values that are not nan, nan if there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float('nan')


class ClasswiseMetric(ImageMetric):
    """Base of the metrics that can report numbers per class.

    Args:
        classwise: Whether to log also a table with one row per class that occurs.

    Attributes:
        per_class: Number by class name and column name; filled with ``classwise``, after
            ``evaluate`` and in the main process.
    """

    def __init__(self, classwise: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.classwise = classwise
        self.per_class: dict[str, dict[str, float]] = {}

    def tell_missing(
        self,
        scores: Mapping[str, float],
        objects: np.ndarray,
        crowds: np.ndarray,
        splits: Mapping[str, np.ndarray],
    ) -> None:
        """Log why scores are nan, and which classes have no ground truth.

        Args:
            scores: Name to number.
            objects: Ground truth that counts: segments or pixels, (K,).
            crowds: Number of crowds, which do not count, (K,).
            splits: Boolean array (K,) of the classes of some scores, by the ending of the scores'
                names; that of all classes first.
        """
        name, (every, *_) = type(self).__name__, splits.values()
        kinds = {'': 'things' if len(splits) == 1 else '', '_th': 'things', '_st': 'stuff'}
        why = {end: why_nothing(objects, crowds, splits[end], kinds[end]) for end in splits}
        reasons = {
            score: why[''] or why[score[-3:] if score[-3:] in splits else ''] for score in scores
        }
        tell_nan(name, scores, reasons)
        ids = self.dataset_meta.get('category_ids')
        known = ids and [label for label, number in enumerate(ids) if number is not None]
        classes = self.dataset_meta['classes']
        tell_missing_classes(name, classes, objects, crowds, every, known)

    def tell_classes(self, columns: Mapping[str, np.ndarray], classes=None) -> None:
        """Keep and log numbers per class if ``classwise`` is set.

        Args:
            columns: Arrays (K,): percentages, nan where undefined, and integer counts. A class
                without any percentage is left out.
            classes: Names of the K classes, those of the dataset by default.
        """
        if not self.classwise:
            return
        rows = zip(
            self.dataset_meta['classes'] if classes is None else classes,
            *(column.tolist() for column in columns.values()),
        )
        self.per_class = {
            name: dict(zip(columns, values))
            for name, *values in rows
            if not all(np.isnan(value) for value in values if isinstance(value, float))
        }
        cells = [
            [name, *(f'{v:.2f}' if isinstance(v, float) else v for v in row.values())]
            for name, row in self.per_class.items()
        ]
        table = AsciiTable([['class', *columns], *cells])
        print_log(f'{type(self).__name__} per class:\n{table.table}', logger='current')
