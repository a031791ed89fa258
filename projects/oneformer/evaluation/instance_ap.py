"""COCO mask AP, with the thing segments of the panoptic map as ground truth."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .data_sample import REMEDIES, is_thing, naming_image, read_field, read_ground_truth


def encode(mask: np.ndarray) -> dict:
    """A mask (H, W), best in Fortran order, as run-length code and area in pixels for COCO."""
    rle = mask_utils.encode(np.asfortranarray(mask))
    return dict(segmentation=rle, area=int(mask_utils.area(rle)))


def thing_annotations(gt_map: np.ndarray, segments: list, things: np.ndarray) -> list:
    """One COCO annotation (without ids) per listed segment whose label is a thing.

    A segment without pixels stays: no detection can find it, so it counts as missed, as in the
    instance annotations that panopticapi derives.

    Args:
        gt_map: (H, W), 0 = void, k = `segments[k - 1]`.
        things: boolean array (K,).
    """
    gt_map = np.asfortranarray(gt_map)
    return [
        dict(category_id=segment['label'], iscrowd=int(segment['iscrowd']), **encode(gt_map == k))
        for k, segment in enumerate(segments, 1)
        if things[segment['label']]
    ]


def mean_precisions(images: list, things: np.ndarray, max_dets: int) -> dict:
    """AP, AP50, AP75 and AP_s, AP_m, AP_l (area below 32^2, to 96^2, above) in percent.

    Numbers without any ground truth are nan (pycocotools: -1).

    Args:
        images: one dict per image: `height`, `width`, lists `annotations` and `detections`.
        things: boolean array (K,): the classes to average over.
        max_dets: detections per image and class that count, the best first.
    """
    categories = [dict(id=int(label)) for label in np.flatnonzero(things)]
    sizes = [
        dict(id=i, height=image['height'], width=image['width']) for i, image in enumerate(images)
    ]

    def in_memory(kind):
        coco = COCO()
        records = [(i, record) for i, image in enumerate(images) for record in image[kind]]
        # ids start at 1: pycocotools takes the id 0 for 'no match'
        annotations = [dict(record, id=n, image_id=i) for n, (i, record) in enumerate(records, 1)]
        coco.dataset = dict(images=sizes, categories=categories, annotations=annotations)
        coco.createIndex()
        return coco

    with redirect_stdout(StringIO()):
        evaluation = COCOeval(in_memory('annotations'), in_memory('detections'), 'segm')
        # COCOeval.summarize knows only 1, 10, 100; what a count yields does not depend on others
        evaluation.params.maxDets = [max_dets]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval['precision'][..., 0]  # IoU thresholds, recalls, classes, areas

    def mean(values):
        values = values[values > -1]
        return float(100 * values.mean()) if values.size else float('nan')

    thresholds = evaluation.params.iouThrs.round(2).tolist()
    every, small, medium, large = (precision[..., area] for area in range(4))
    return dict(
        AP=mean(every),
        AP50=mean(every[thresholds.index(0.5)]),
        AP75=mean(every[thresholds.index(0.75)]),
        AP_s=mean(small),
        AP_m=mean(medium),
        AP_l=mean(large),
    )


@METRICS.register_module()
class InstanceAP(BaseMetric):
    """Mask AP of pycocotools over all thing classes, in percent; nan without ground truth.

    Areas are those of the masks, so the size ranges are too.

    Args:
        max_dets: detections per image and class that count. The official evaluation keeps
            COCO's 100, although the model answers with more.
    """

    task = default_prefix = 'instance'

    def __init__(self, max_dets: int = 100, **kwargs):
        super().__init__(**kwargs)
        self.max_dets = max_dets

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Append one dict of run-length coded annotations and detections per image."""
        things = is_thing(self.dataset_meta)
        for data_sample in data_samples:
            with naming_image(data_sample):
                gt_map, segments = read_ground_truth(data_sample)
                height, width = gt_map.shape
                self.results.append(
                    dict(
                        height=height,
                        width=width,
                        annotations=thing_annotations(gt_map, segments, things),
                        detections=self.read_detections(data_sample, things, gt_map.shape),
                    )
                )

    @staticmethod
    def read_detections(data_sample: dict, things: np.ndarray, size: tuple) -> list:
        """`pred_instances` as COCO results; an empty mask stays, pycocotools takes it for wrong."""
        labels, scores, masks = (
            read_field(data_sample, 'pred_instances', key) for key in ('labels', 'scores', 'masks')
        )
        if masks.shape != (len(labels), *size) or len(scores) != len(labels):
            raise ValueError(
                f'pred_instances has masks {tuple(masks.shape)} and {len(scores)} scores for '
                f'{len(labels)} labels of an image {size}: {REMEDIES["pred_instances"]}'
            )
        labels, scores = labels.tolist(), scores.tolist()
        not_things = np.setdiff1d(labels, np.flatnonzero(things)).astype(int)
        if not_things.size:
            raise ValueError(
                f'pred_instances.labels has {not_things.tolist()}, which are not in '
                'thing_classes: keep only things in the instance answer'
            )
        # torch transposes to Fortran order twice as fast as numpy; one by one, to bound the memory
        return [
            dict(
                category_id=label,
                score=score,
                iscrowd=0,
                **encode(mask.T.contiguous().cpu().numpy().T),
            )
            for label, score, mask in zip(labels, scores, masks)
        ]

    def compute_metrics(self, results: list) -> dict:
        return mean_precisions(results, is_thing(self.dataset_meta), self.max_dets)
