"""Mean IoU by detectron2's rules, with the panoptic map as ground truth.

Legend: H, W original image size, S listed segments, K classes.
"""

from collections.abc import Sequence

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from .data_sample import naming_image, read_ground_truth, read_map


def semantic_areas(
    gt_map: np.ndarray, segments: list, pred_map: np.ndarray, num_classes: int
) -> np.ndarray:
    """Pixels of intersection, prediction and ground truth per class, int64 (3, K).

    Void pixels of the ground truth are left out altogether; crowd segments count with their
    class, since COCO's semantic annotation, which the official evaluation reads, has them.

    Args:
        gt_map: (H, W), 0 = void, k = `segments[k - 1]`.
        pred_map: (H, W), labels in [0, K); ValueError otherwise, as there is no void to predict.
    """
    if pred_map.min() < 0 or pred_map.max() >= num_classes:
        raise ValueError(
            f'pred_sem_seg.sem_seg has values {pred_map.min()} to {pred_map.max()}, '
            f'labels are 0 to {num_classes - 1}'
        )
    pairs = gt_map.ravel().astype(np.int64) * num_classes + pred_map.ravel()
    overlap = np.bincount(pairs, minlength=(len(segments) + 1) * num_classes)
    overlap = overlap.reshape(-1, num_classes)[1:]  # S K
    gt_labels = np.array([segment['label'] for segment in segments], dtype=np.int64)
    areas = np.zeros((3, num_classes), dtype=np.int64)
    np.add.at(areas[0], gt_labels, overlap[np.arange(len(segments)), gt_labels])
    areas[1] = overlap.sum(0)
    np.add.at(areas[2], gt_labels, overlap.sum(1))
    return areas


def semantic_scores(areas: np.ndarray) -> dict:
    """mIoU, fwIoU (weighted by ground truth), mACC and pACC in percent, nan without ground truth.

    As in detectron2 v0.6, mIoU divides the sum over the classes with ground truth by the number of
    classes with ground truth *or* prediction: a class seen only in predictions counts as 0.
    """
    intersection, predicted, labelled = areas.astype(np.float64)
    if not labelled.any():
        return dict.fromkeys(('mIoU', 'fwIoU', 'mACC', 'pACC'), float('nan'))
    iou = intersection / np.maximum(predicted + labelled - intersection, 1)
    accuracy = intersection / np.maximum(labelled, 1)
    scores = dict(
        mIoU=iou.sum() / np.count_nonzero(predicted + labelled),
        fwIoU=(iou * labelled).sum() / labelled.sum(),
        mACC=accuracy.sum() / np.count_nonzero(labelled),
        pACC=intersection.sum() / labelled.sum(),
    )
    return {name: float(100 * score) for name, score in scores.items()}


@METRICS.register_module()
class SemanticIoU(BaseMetric):
    """mIoU, fwIoU, mACC and pACC in percent.

    Datasets that ship a semantic annotation of their own (ADE20K, Mapillary Vistas) may differ
    from the panoptic map in some pixels, and so may published numbers.
    """

    task = default_prefix = 'semantic'

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Append one (3, K) array of areas per image, which is enough and smaller than (K, K)."""
        for data_sample in data_samples:
            with naming_image(data_sample):
                gt_map, segments = read_ground_truth(data_sample)
                pred_map = read_map(data_sample, 'pred_sem_seg')
                num_classes = len(self.dataset_meta['classes'])
                self.results.append(semantic_areas(gt_map, segments, pred_map, num_classes))

    def compute_metrics(self, results: list) -> dict:
        return semantic_scores(np.sum(results, axis=0))
