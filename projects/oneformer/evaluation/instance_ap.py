"""COCO mask AP against the things of the dataset's labels, or an official instance file."""

import logging
from collections.abc import Mapping

import numpy as np
from mmdet.registry import METRICS
from mmengine.logging import print_log
from typing_extensions import override

from ..datasets.settings import require_text
from ..metainfo import is_thing
from ..run_length import encode_ids
from .average_precision import check_backend, class_precisions
from .classwise import ClasswiseMetric, mean
from .counting import most_of_classes, tell_beyond
from .data_sample import coco_record, read_detections, read_ground_truth, read_known
from .instance_file import InstanceFile, encode_annotation
from .nothing_to_score import tell_nan


def thing_annotations(gt_map: np.ndarray, segments: list, things: np.ndarray) -> list:
    """One COCO annotation (without ids) per listed segment whose label is a thing.

    A segment with a mask of its own (``segmentation``, which may overlap others) keeps that mask,
    others take theirs from the map. A segment without pixels stays: no detection can find it, so
    it counts as missed, as in the instance annotations that panopticapi derives.

    Args:
        gt_map: (H, W), 0 = void, k = ``segments[k - 1]``.
        segments: Dicts with ``label`` in [0, K), ``iscrowd``, and if they have their own mask
            ``segmentation``.
        things: Boolean array (K,).
    """
    objects = {k: s for k, s in enumerate(segments, 1) if things[s['label']]}
    of_map = [k for k, segment in objects.items() if 'segmentation' not in segment]
    code_of = dict(zip(of_map, encode_ids(gt_map, of_map)))
    return [
        dict(
            category_id=segment['label'],
            iscrowd=int(segment['iscrowd']),
            **(
                coco_record(code_of[k])
                if k in code_of
                else encode_annotation(segment, *gt_map.shape)
            ),
        )
        for k, segment in objects.items()
    ]


@METRICS.register_module()
class InstanceAP(ClasswiseMetric):
    """Mask AP of pycocotools over all thing classes, in percent; nan without ground truth.

    Where some image has more objects or detections of a class than ``max_dets``, ``AP_all`` is AP
    of all detections.

    Where the labels, or the official file, say what was looked for in an image, LVIS's rules
    hold: detections of other classes are left out, and detections of classes that are
    annotated in part are not wrong if they match nothing.

    Args:
        max_dets: Detections per image and class that count. The official evaluation keeps
            COCO's 100, although the model predicts more.
        ann_file: An official instance file in COCO format to score against, in place of the
            dataset's labels. Its images are found by id and its categories by name.
        first_id: Number of the first annotation. The original numbers COCO's derived annotations
            from 0, which pycocotools takes for 'not matched': the first object counts as missed
            whatever is predicted. 0 reproduces that.
        backend: ``'pycocotools'``, or ``'hotcoco'`` if that is installed: the same numbers, without
            loops in Python.
        **kwargs: Arguments of ``ClasswiseMetric``.
    """

    task = default_prefix = 'instance'

    def __init__(
        self,
        max_dets: int = 100,
        ann_file: str | None = None,
        first_id: int = 1,
        backend: str = 'pycocotools',
        **kwargs,
    ):
        super().__init__(**kwargs)
        require_text(ann_file, 'InstanceAP.ann_file')
        self.backend = check_backend(backend)
        self.max_dets = max_dets
        self.ann_file = ann_file
        self.first_id = first_id
        self._official: InstanceFile | None = None

    @override
    def score(self, data_sample: dict) -> dict:
        """A dict of run-length coded annotations and detections."""
        things = is_thing(self.dataset_meta)
        height, width = data_sample['ori_shape'][:2]
        result = dict(height=height, width=width)
        if self.ann_file is None:
            gt_map, segments = read_ground_truth(data_sample)
            result['annotations'] = thing_annotations(gt_map, segments, things)
            known = read_known(data_sample)
        else:
            official = self._official_file(self.ann_file)
            result['annotations'] = official.annotations_of(data_sample)
            result['listed'] = len(official)
            known = official.known_of(data_sample)
        result['detections'] = read_detections(data_sample, things, known)
        if known is not None:
            result['partly'] = sorted(set(known.known) - set(known.searched))
        return result

    def _official_file(self, ann_file: str) -> InstanceFile:
        """``ann_file``, which is read at the first image."""
        if self._official is None:
            self._official = InstanceFile(ann_file, self.dataset_meta, self.first_id)
        return self._official

    @override
    def compute_metrics(self, results: list) -> dict:
        listed = results[0].get('listed', 0) if results else 0  # images of the official file
        if len(results) < listed:
            print_log(
                f'{self.ann_file} has {listed} images; AP is of the {len(results)} that were '
                'predicted',
                logger='current',
            )
        precisions = class_precisions(
            results, is_thing(self.dataset_meta), self.max_dets, self.first_id, self.backend
        )
        if (beyond := self.beyond_max_dets(results, precisions['AP'])) is not None:
            precisions['AP_all'] = beyond
        self.tell_classes(precisions)
        scores = {name: mean(column) for name, column in precisions.items()}
        self._tell_missing(scores, results)
        return scores

    def _tell_missing(self, scores: Mapping[str, float], results: list) -> None:
        """Log why scores are nan, and which classes have no ground truth."""
        things = is_thing(self.dataset_meta)
        objects, crowds = np.zeros((2, len(things)), np.int64)
        for image in results:
            for annotation in image['annotations']:
                counted = crowds if annotation['iscrowd'] else objects
                counted[annotation['category_id']] += 1
        self.tell_missing(scores, objects, crowds, {'': things})
        if objects.any():
            why = 'no object is of this size (areas of small ones go to 32^2, of medium to 96^2)'
            sizes = dict.fromkeys(('AP_s', 'AP_m', 'AP_l'), why)
            tell_nan('InstanceAP', scores, sizes, logging.INFO)

    def beyond_max_dets(self, results: list, precision: np.ndarray) -> np.ndarray | None:
        """AP of all detections (K,), None where no image has more than ``max_dets`` of a class.

        Only classes of which some image has more detections are scored again.

        Args:
            results: Records of the images.
            precision: AP of ``max_dets`` detections, in percent, (K,).
        """
        things = is_thing(self.dataset_meta)
        objects, detections = (
            most_of_classes(results, kind, len(things)) for kind in ('annotations', 'detections')
        )
        if max(objects.max(), detections.max()) <= self.max_dets:
            return None
        tell_beyond(self.max_dets, objects, detections, self.dataset_meta['classes'])
        anew = things & (detections > self.max_dets)
        if not anew.any():
            return precision.copy()
        most = int(detections.max())
        scored = class_precisions(results, anew, most, self.first_id, self.backend)
        return np.where(anew, scored['AP'], precision)
