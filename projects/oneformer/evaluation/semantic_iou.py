"""Mean IoU by detectron2's rules, against the dataset's labels or official label PNGs.

Legend: H, W original image size, S listed segments, K classes.
"""

import logging
import os.path as osp
from collections.abc import Sequence

import numpy as np
from mmdet.registry import METRICS
from mmengine.logging import print_log
from typing_extensions import override

from ..datasets.settings import require_text
from ..images.label_files import load_label_png
from ..metainfo import is_thing
from .classwise import ClasswiseMetric
from .data_sample import image_stem, read_ground_truth, read_known, read_map


def semantic_areas(
    gt_map: np.ndarray,
    segments: list,
    pred_map: np.ndarray,
    num_classes: int,
    searched: Sequence[int] | None = None,
) -> np.ndarray:
    """Pixels of intersection, prediction and ground truth per class, int64 (3, K).

    Void pixels of the ground truth are left out altogether; crowd segments count with their
    class, since COCO's semantic annotation, which the official evaluation reads, has them.

    Args:
        gt_map: (H, W), 0 = void, k = ``segments[k - 1]``.
        segments: Dicts with ``label`` in [0, K).
        pred_map: (H, W), labels in [0, K); ValueError otherwise, as there is no void to predict.
        num_classes: K.
        searched: Labels of which everything is annotated in the image; of other labels, only
            correct pixels count as predicted. None for all.
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
    if searched is not None:
        areas[1] = np.where(np.isin(np.arange(num_classes), searched), areas[1], areas[0])
    return areas


def read_labels(
    path: str, num_classes: int, ignore_index: int, reduce_zero_label: bool
) -> np.ndarray:
    """A label PNG as a map (H, W) in which 0 is void and k is label k - 1.

    Raises:
        FileNotFoundError, ValueError: if it is missing or damaged, and for a value that is neither
            a label nor ``ignore_index``.
    """
    values = load_label_png(path, 'ground truth')
    gt_map = values.astype(np.int64) + (0 if reduce_zero_label else 1)
    gt_map[values == ignore_index] = 0
    if gt_map.min() < 0 or gt_map.max() > num_classes:
        wrong = values[(gt_map < 0) | (gt_map > num_classes)]
        raise ValueError(
            f'label PNG {path} has {len(wrong)} pixels with values that are not labels, such as '
            f'{wrong[0]}: labels are {int(reduce_zero_label)} to '
            f'{num_classes - 1 + reduce_zero_label}, void is {ignore_index}'
            f'{" or 0" if reduce_zero_label else ""}. Check SemanticIoU.ignore_index and '
            'reduce_zero_label'
        )
    return gt_map


def class_iou(areas: np.ndarray) -> np.ndarray:
    """IoU of areas (3, K), as a fraction (K,): 0 without intersection."""
    intersection, predicted, labelled = areas.astype(np.float64)
    return intersection / np.maximum(predicted + labelled - intersection, 1)


def mean_iou(areas: np.ndarray) -> float:
    """mIoU in percent of areas (3, K), nan where no class occurs.

    As in detectron2 v0.6, the sum over the classes with ground truth is divided by the number of
    classes with ground truth *or* prediction: a class seen only in predictions counts as 0.
    """
    occurring = np.count_nonzero(areas[1] + areas[2])
    return float(100 * class_iou(areas).sum() / occurring) if occurring else float('nan')


def semantic_scores(areas: np.ndarray, things: np.ndarray) -> dict:
    """mIoU of all classes, things (_th) and stuff (_st), fwIoU, mACC and pACC in percent.

    fwIoU is weighted by ground truth. All are nan without ground truth.

    Args:
        areas: Pixels of intersection, prediction and ground truth, (3, K).
        things: Boolean array (K,).
    """
    intersection, _, labelled = areas.astype(np.float64)
    names = ('mIoU', 'mIoU_th', 'mIoU_st', 'fwIoU', 'mACC', 'pACC')
    if not labelled.any():
        return dict.fromkeys(names, float('nan'))
    accuracy = intersection / np.maximum(labelled, 1)
    scores = (
        mean_iou(areas),
        mean_iou(areas[:, things]),
        mean_iou(areas[:, ~things]),
        100 * (class_iou(areas) * labelled).sum() / labelled.sum(),
        100 * accuracy.sum() / np.count_nonzero(labelled),
        100 * intersection.sum() / labelled.sum(),
    )
    return {name: float(score) for name, score in zip(names, scores)}


@METRICS.register_module()
class SemanticIoU(ClasswiseMetric):
    """mIoU (also of things and of stuff), fwIoU, mACC and pACC in percent.

    Where the labels say what was looked for in an image, a prediction of another class there does
    not count against that class.

    Datasets that ship a semantic annotation of their own (ADE20K, Mapillary Vistas) may differ
    from the panoptic map in some pixels, and so may published numbers; ``seg_prefix`` tells
    where it is.

    Args:
        seg_prefix: Folder of official label PNGs to score against, in place of the dataset's
            labels. A PNG has the name of its image, with its sub-folder if it has one.
        ignore_index: Value of void in these PNGs.
        reduce_zero_label: Whether value 0 of these PNGs is void too, and k is label k - 1.
        **kwargs: Arguments of ``ClasswiseMetric``.
    """

    task = default_prefix = 'semantic'

    def __init__(
        self,
        seg_prefix: str | None = None,
        ignore_index: int = 255,
        reduce_zero_label: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        require_text(seg_prefix, 'SemanticIoU.seg_prefix')
        self.seg_prefix = seg_prefix
        self.ignore_index = ignore_index
        self.reduce_zero_label = reduce_zero_label

    @override
    def score(self, data_sample: dict) -> np.ndarray:
        """An array (3, K) of areas, smaller than a (K, K) confusion matrix."""
        num_classes = len(self.dataset_meta['classes'])
        pred_map = read_map(data_sample, 'pred_sem_seg')
        known = None
        if self.seg_prefix is None:
            gt_map, segments = read_ground_truth(data_sample)
            known = read_known(data_sample)
        else:
            gt_map = self.official_map(data_sample)
            segments = [dict(label=label) for label in range(num_classes)]
        searched = None if known is None else known.searched
        return semantic_areas(gt_map, segments, pred_map, num_classes, searched)

    def official_map(self, data_sample: dict) -> np.ndarray:
        """The label PNG of the sample's image below ``seg_prefix``, see ``read_labels``."""
        path = osp.join(self.seg_prefix or '', f'{image_stem(data_sample)}.png')
        num_classes = len(self.dataset_meta['classes'])
        gt_map = read_labels(path, num_classes, self.ignore_index, self.reduce_zero_label)
        if gt_map.shape != tuple(data_sample['ori_shape'][:2]):
            raise ValueError(
                f'label PNG {path} has (height, width) {gt_map.shape}, the image '
                f'{tuple(data_sample["ori_shape"][:2])}: they do not belong together'
            )
        return gt_map

    @override
    def compute_metrics(self, results: list) -> dict:
        areas = np.sum(results, axis=0)
        occurs = (areas[1] + areas[2]) > 0
        self.tell_classes(dict(IoU=np.where(occurs, 100 * class_iou(areas), np.nan)))
        things = is_thing(self.dataset_meta)
        scores = semantic_scores(areas, things)
        splits = {'': things | True, '_th': things, '_st': ~things}
        self.tell_missing(scores, areas[2], np.zeros_like(areas[2]), splits)
        if len(things) == 1:
            print_log(
                f'SemanticIoU: {self.dataset_meta["classes"][0]!r} is the only class, so that '
                'every pixel is predicted as it, and mIoU is 100 whatever the model learned: add '
                'a class for the rest, or look at PQ and AP',
                logger='current',
                level=logging.WARNING,
            )
        return scores
