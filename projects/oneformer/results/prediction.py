"""The predictions for an image as plain arrays, and what is left out of them on request.

Legend: H, W original size of the image, K classes, N instances.
"""

import difflib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.logging import print_log

from ..class_matching import names_by_strength, normalise, owners
from ..host.transfers import fetch, send
from ..panoptic_codes import boxes_of_ids, decode_segments, labels_of_codes
from .categories import Categories
from .coco import coco_dataset
from .labelme import labelme_content
from .other_tools import to_fiftyone, to_supervision

UNWANTED = -1  # in a semantic map: the class of the pixel is not among the wanted ones


@dataclass
class Prediction:
    """The predictions for one image or frame; those of tasks that were not asked are None.

    Attributes:
        name: Name of the image below the folder that was handed in, such as ``street/0001.jpg``; of
            a frame the video's, without suffix if no other is called so, and the number,
            ``clip/000012``; of an array its position, ``array_000000``.
        path: Path of the file, None for an array.
        panoptic_map: Segment ids of shape (H, W), int32, 0 for void, as in the panoptic PNG.
        segments: A dict for each id, ascending from 1, with ``id``, ``label``, ``category`` (its
            name), ``isthing``, ``area`` in pixels, ``bbox`` (x, y, width, height), tight, in
            pixels, and ``score``: the class probability of its query, and of the best query for
            stuff that several have found. Where ``classes`` leaves segments out, the others keep
            their ids.
        masks: Masks of the instances, bool of shape (N, H, W). They may overlap.
        labels: Labels of the instances, int64 of shape (N,).
        scores: Scores of the instances, float32 of shape (N,), from the best: class probability of
            the query times mean mask probability inside the mask.
        boxes: Tight boxes (x1, y1, x2, y2) around the masks, x2 and y2 exclusive, float32 (N, 4).
        semantic_map: Labels of shape (H, W), int16, -1 where ``classes`` leaves the prediction out.
        categories: The classes, and what result files call them.
    """

    name: str
    path: str | None
    panoptic_map: np.ndarray | None = None
    segments: list[dict] | None = None
    masks: np.ndarray | None = None
    labels: np.ndarray | None = None
    scores: np.ndarray | None = None
    boxes: np.ndarray | None = None
    semantic_map: np.ndarray | None = None
    categories: Categories = field(default_factory=Categories, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes: ``names[label]``."""
        return self.categories.names

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that were asked."""
        found = dict(panoptic=self.panoptic_map, instance=self.masks, semantic=self.semantic_map)
        return tuple(task for task, value in found.items() if value is not None)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        maps = self.panoptic_map, self.semantic_map, self.masks
        height, width = next(found for found in maps if found is not None).shape[-2:]
        return height, width

    def to_coco(self, task: str | None = None) -> dict:
        """A COCO dataset of this image alone, see ``results.coco.coco_dataset``.

        Args:
            task: Whose objects are taken: the instances, or else the panoptic segments, or else a
                region per class.

        Raises:
            ValueError: If the task was not asked. So do the methods below.
        """
        return coco_dataset([self], task)

    def to_labelme(
        self,
        image_path: str | os.PathLike | None = None,
        image: np.ndarray | None = None,
        task: str | None = None,
    ) -> dict:
        """The content of a JSON of labelme, see ``results.labelme.labelme_content``.

        Args:
            image_path: Path of the image, from the folder of the JSON; its own path by default.
            image: BGR, uint8, of shape (H, W, 3), to hold it in the JSON.
            task: See ``to_coco``.
        """
        return labelme_content(self, image_path or self.path or self.name, image, task)

    def to_supervision(self, task: str | None = None) -> Any:
        """``supervision.Detections``; ImportError without that package.

        Args:
            task: See ``to_coco``.
        """
        return to_supervision(self, task)

    def to_fiftyone(self) -> Mapping[str, Any]:
        """Labels of FiftyOne by the task, see ``results.other_tools.to_fiftyone``."""
        return to_fiftyone(self)


def labels_of_names(names: Sequence[str], metainfo: Mapping) -> list[int]:
    """Labels of class names, by the rule of ``class_matching``, as fine-tuning matches them.

    Raises:
        ValueError: Without names, and for those of no class, with similar ones, or of several.
    """
    if not isinstance(names, Iterable) or not names:
        raise ValueError('no class: name one or more, or leave classes out to keep all')
    owner, labels = owners(metainfo), []
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f'class {name!r} is not a name')
        key = name if name in owner else normalise(name)
        if key not in owner:
            hints = difflib.get_close_matches(key, [k for k in owner if owner[k] is not None], n=5)
            similar = list(dict.fromkeys(metainfo['classes'][owner[hint]] for hint in hints))
            hint = f'did you mean {similar}?' if similar else f'it has {list(metainfo["classes"])}'
            raise ValueError(f'the model has no class {name!r}: {hint}')
        label = owner[key]
        if label is None:
            claimed = (
                [metainfo['classes'][label] for label, own in enumerate(names_of) if key in own]
                for names_of in names_by_strength(metainfo)
            )
            raise ValueError(
                f'class {name!r} may be each of {next(filter(None, claimed))}: write in full which'
            )
        labels.append(label)
    return labels


def keep_labels(sample: DetDataSample, labels: Sequence[int], num_classes: int) -> None:
    """Leave the predictions of other classes out, in place.

    They become void in the panoptic map, -1 in the semantic map, and are not instances. The other
    predictions stay as they are, so a pixel never changes from one class to another.
    """
    wanted = torch.zeros(num_classes + 1, dtype=torch.bool)
    wanted[list(labels)] = True
    if 'pred_panoptic_seg' in sample:
        panoptic = sample.pred_panoptic_seg
        codes = panoptic.sem_seg
        kept = send(wanted, codes.device)[labels_of_codes(codes).long()]
        panoptic.sem_seg = torch.where(kept, codes, num_classes)
        segments = [s for s in panoptic.segments_info if wanted[s['label']]]
        panoptic.set_metainfo(dict(segments_info=segments))
    if 'pred_instances' in sample:
        (found,) = fetch(sample.pred_instances.labels)
        keep_instances(sample, wanted[found].nonzero()[:, 0])
    if 'pred_sem_seg' in sample:
        label_map = sample.pred_sem_seg.sem_seg
        kept = send(wanted, label_map.device)[label_map]
        sample.pred_sem_seg.sem_seg = torch.where(kept, label_map, UNWANTED)


def keep_instances(sample: DetDataSample, index: torch.Tensor) -> None:
    """Keep the instances of given indices (n,), which are on the host, in their order, in place."""
    instances = sample.pred_instances
    sample.pred_instances = instances[send(index, instances.labels.device)]


def keep_confident(sample: DetDataSample, score_thr: float) -> None:
    """Sort the instances from the best, and drop those that score below ``score_thr``, in place."""
    if 'pred_instances' in sample:
        (scores,) = fetch(sample.pred_instances.scores)
        order = scores.argsort(descending=True, stable=True)
        keep_instances(sample, order[scores[order] >= score_thr])


class TellOnce:
    """Warns of the first image with as many confident instances as there may be."""

    def __init__(self) -> None:
        self.told = False

    def if_full(self, sample: DetDataSample, score_thr: float, max_per_image: int) -> None:
        """Warn if it is the case.

        Args:
            sample: Sample with all its instances.
            score_thr: Least score of an instance that is kept; 0 keeps all, so nothing is told.
            max_per_image: Instances that there may be.
        """
        if self.told or not score_thr or 'pred_instances' not in sample:
            return
        scores = sample.pred_instances.scores
        if len(scores) < max_per_image or int((scores >= score_thr).sum()) < max_per_image:
            return
        self.told = True
        print_log(
            f'{sample.get("image_name", "an image")} has {max_per_image} instances that score '
            f'{score_thr:g} or more, which is max_per_image: it may show more. Raise it (in '
            'oneformer predict --max-per-image); there are no more queries than '
            'model.panoptic_head.num_queries',
            logger='current',
            level=logging.WARNING,
        )


def to_prediction(
    sample: DetDataSample, dataset_meta: Mapping, name: str, path: str | None
) -> Prediction:
    """Arrays of a sample with predictions on the CPU.

    Args:
        sample: Sample with the predictions.
        dataset_meta: Metainfo of the model, see ``Categories.of``.
        name: See ``Prediction``.
        path: See ``Prediction``.
    """
    categories = Categories.of(dataset_meta)
    prediction = Prediction(name, path, categories=categories)
    if 'pred_panoptic_seg' in sample:
        panoptic = sample.pred_panoptic_seg
        id_map, segments = decode_segments(
            panoptic.sem_seg[0].numpy(), len(categories.names), panoptic.segments_info
        )
        boxes = boxes_of_ids(id_map, [segment['id'] for segment in segments])
        for segment, box in zip(segments, boxes):
            label = segment['label']
            segment.update(
                bbox=box, category=categories.names[label], isthing=categories.is_thing[label]
            )
        prediction.panoptic_map, prediction.segments = id_map, segments
    if 'pred_instances' in sample:
        instances = sample.pred_instances
        prediction.masks = instances.masks.numpy()
        prediction.labels = instances.labels.numpy()
        prediction.scores = instances.scores.numpy()
        prediction.boxes = instances.bboxes.numpy()
    if 'pred_sem_seg' in sample:
        prediction.semantic_map = sample.pred_sem_seg.sem_seg[0].numpy().astype(np.int16)
    return prediction
