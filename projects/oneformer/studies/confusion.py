"""How often classes that look alike are taken for one another."""

from collections.abc import Sequence

import numpy as np
from mmdet.registry import METRICS

from ..evaluation.data_sample import read_ground_truth, read_map
from ..evaluation.image_metric import ImageMetric


def confusion_matrix(
    gt_map: np.ndarray, segments: Sequence[dict], pred_map: np.ndarray, num_classes: int
) -> np.ndarray:
    """Pixels of each class (rows) that are predicted as each class, int64 (K, K), without void.

    Args:
        gt_map: (H, W), 0 = void, k = ``segments[k - 1]``.
        segments: Dicts with ``label`` in [0, K).
        pred_map: (H, W), labels in [0, K).
        num_classes: K.
    """
    labels = np.array([segment['label'] for segment in segments], np.int64)
    matrix = np.zeros((num_classes, num_classes), np.int64)
    known = gt_map > 0
    np.add.at(matrix, (labels[gt_map[known] - 1], pred_map[known]), 1)
    return matrix


@METRICS.register_module()
class Confusion(ImageMetric):
    """Pixels of a pair of classes that are taken for the other of the pair, in percent.

    Of those that are predicted as one of the two. ``semantic/confused`` is the mean over the pairs,
    ``semantic/confused: A, B`` that of a pair; nan without such pixels. ``semantic/misclassified``
    is the share of all pixels that are predicted as another class.

    Args:
        pairs: Names of classes that look alike.
    """

    task = default_prefix = 'semantic'

    def __init__(self, pairs: Sequence[Sequence[str]], **kwargs) -> None:
        super().__init__(**kwargs)
        self.pairs = [tuple(pair) for pair in pairs]

    def score(self, data_sample: dict) -> np.ndarray:
        """The confusion matrix of an image."""
        gt_map, segments = read_ground_truth(data_sample)
        pred_map = read_map(data_sample, 'pred_sem_seg')
        return confusion_matrix(gt_map, segments, pred_map, len(self.dataset_meta['classes']))

    def compute_metrics(self, results: list) -> dict:
        """Shares of all images together."""
        matrix = np.sum(results, axis=0)
        classes = list(self.dataset_meta['classes'])
        shares = {}
        for pair in self.pairs:
            index = [classes.index(name) for name in pair]
            own = matrix[np.ix_(index, index)]
            wrong, total = own.sum() - np.trace(own), own.sum()
            shares[f'confused: {", ".join(pair)}'] = 100 * wrong / total if total else np.nan
        measured = [share for share in shares.values() if not np.isnan(share)]
        mean = float(np.mean(measured)) if measured else float('nan')
        everything = matrix.sum()
        misclassified = 100 * (1 - np.trace(matrix) / everything) if everything else np.nan
        shares = {name: float(share) for name, share in shares.items()}
        return dict(confused=mean, misclassified=float(misclassified), **shares)
