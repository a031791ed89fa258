"""The answers to a photo as plain arrays, and what is left out of them on request.

Legend: H, W original size of the photo, K classes, N instances.
"""

import difflib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample
from mmengine.logging import print_log

from ..class_matching import names_by_strength, normalise, owners
from ..panoptic_codes import segment_ids

UNWANTED = -1  # in a semantic map: the class of the pixel is not among the wanted ones


@dataclass
class Prediction:
    """The answers to one photo or frame; those of tasks that were not asked are None.

    Attributes:
        name: Of the photo below the folder that was handed in, such as ``street/0001.jpg``; of a
            frame the video's, without suffix if no other is called so, and the number,
            ``clip/000012``; of an array its position, ``array_000000``.
        path: Of the file, None for an array.
        panoptic_map: Segment ids of shape (H, W), int32, 0 for void, as in the panoptic PNG.
        segments: Of each id from 1 a dict with ``id``, ``label``, ``category`` (its name),
            ``isthing``, ``area`` in pixels, and ``score``: the class probability of its query, and
            of the best query for stuff that several have found.
        masks: Of the instances, bool of shape (N, H, W). They may overlap.
        labels: Of the instances, int64 of shape (N,).
        scores: Of the instances, float32 of shape (N,), from the best: class probability of the
            query times mean mask probability inside the mask.
        boxes: Tight boxes (x1, y1, x2, y2) around the masks, x2 and y2 exclusive, float32 (N, 4).
        semantic_map: Labels of shape (H, W), int16, -1 where ``classes`` leaves the answer out.
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
            raise ValueError(f'class {name!r} is no name')
        key = name if name in owner else normalise(name)
        if key not in owner:
            hints = difflib.get_close_matches(key, [k for k in owner if owner[k] is not None], n=5)
            similar = list(dict.fromkeys(metainfo['classes'][owner[hint]] for hint in hints))
            hint = f'did you mean {similar}?' if similar else f'it has {list(metainfo["classes"])}'
            raise ValueError(f'the model has no class {name!r}: {hint}')
        if owner[key] is None:
            claimed = (
                [metainfo['classes'][label] for label, own in enumerate(names_of) if key in own]
                for names_of in names_by_strength(metainfo)
            )
            raise ValueError(
                f'class {name!r} may be each of {next(filter(None, claimed))}: write in full which'
            )
        labels.append(owner[key])
    return labels


def keep_labels(sample: DetDataSample, labels: Sequence[int], num_classes: int) -> None:
    """Leave the answers of other classes out, in place.

    They become void in the panoptic map, -1 in the semantic map, and are no instances. The other
    answers stay as they are, so a pixel never changes from one class to another.
    """
    wanted = torch.zeros(num_classes + 1, dtype=torch.bool)
    wanted[list(labels)] = True
    if 'pred_panoptic_seg' in sample:
        panoptic = sample.pred_panoptic_seg
        codes = panoptic.sem_seg
        kept = wanted.to(codes.device)[(codes % INSTANCE_OFFSET).long()]
        panoptic.sem_seg = torch.where(kept, codes, num_classes)
        segments = [s for s in panoptic.segments_info if wanted[s['label']]]
        panoptic.set_metainfo(dict(segments_info=segments))
    if 'pred_instances' in sample:
        instances = sample.pred_instances
        sample.pred_instances = instances[wanted.to(instances.labels.device)[instances.labels]]
    if 'pred_sem_seg' in sample:
        label_map = sample.pred_sem_seg.sem_seg
        kept = wanted.to(label_map.device)[label_map]
        sample.pred_sem_seg.sem_seg = torch.where(kept, label_map, UNWANTED)


def keep_confident(sample: DetDataSample, score_thr: float) -> None:
    """Sort the instances from the best, and drop those that score below ``score_thr``, in place."""
    if 'pred_instances' in sample:
        instances = sample.pred_instances
        instances = instances[instances.scores >= score_thr]
        sample.pred_instances = instances[instances.scores.argsort(descending=True, stable=True)]


class TellOnce:
    """Warns of the first image with as many confident instances as there may be."""

    def __init__(self) -> None:
        self.told = False

    def if_full(self, sample: DetDataSample, score_thr: float, max_per_image: int) -> None:
        """Warn if it is the case.

        Args:
            sample: With all its instances.
            score_thr: Least score of an instance that is kept; 0 keeps all, so nothing is told.
            max_per_image: Instances that there may be.
        """
        if self.told or not score_thr or 'pred_instances' not in sample:
            return
        if int((sample.pred_instances.scores >= score_thr).sum()) < max_per_image:
            return
        self.told = True
        print_log(
            f'{sample.get("photo_name", "an image")} has {max_per_image} instances that score '
            f'{score_thr:g} or more, which is max_per_image: it may show more. Raise it (in '
            'tools/predict.py --max-per-image); there are no more queries than '
            'model.panoptic_head.num_queries',
            logger='current',
            level=logging.WARNING,
        )


def to_prediction(
    sample: DetDataSample, classes: Sequence[str], name: str, path: str | None
) -> Prediction:
    """Arrays of a sample with answers on the CPU."""
    prediction = Prediction(name, path)
    if 'pred_panoptic_seg' in sample:
        panoptic = sample.pred_panoptic_seg
        info_of = {
            s['label'] + INSTANCE_OFFSET * s['id'] * s['isthing']: s for s in panoptic.segments_info
        }
        id_map, codes, areas = segment_ids(panoptic.sem_seg[0].numpy(), len(classes))
        prediction.panoptic_map = id_map
        prediction.segments = [
            dict(
                id=k,
                label=info_of[code]['label'],
                category=classes[info_of[code]['label']],
                isthing=info_of[code]['isthing'],
                area=area,
                score=info_of[code]['score'],
            )
            for k, (code, area) in enumerate(zip(codes.tolist(), areas.tolist()), 1)
        ]
    if 'pred_instances' in sample:
        instances = sample.pred_instances
        prediction.masks = instances.masks.numpy()
        prediction.labels = instances.labels.numpy()
        prediction.scores = instances.scores.numpy()
        prediction.boxes = instances.bboxes.numpy()
    if 'pred_sem_seg' in sample:
        prediction.semantic_map = sample.pred_sem_seg.sem_seg[0].numpy().astype(np.int16)
    return prediction
