"""Every prediction in one form: a map of numbered regions with a label each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mmdet.structures import DetDataSample

from ..panoptic_codes import decode_segments


@dataclass
class Regions:
    """Regions of an image.

    Attributes:
        title: Title of the panel.
        region_map: Map of shape (H, W): 0 is void, k is region k, -1 is unknown.
        labels: Labels of the regions, in their order.
        captions: Text for each region, may be empty.
        outline_map: Map of shape (H, W): where these numbers change there are outlines; those of
            ``region_map`` by default.
    """

    title: str
    region_map: np.ndarray
    labels: Sequence[int]
    captions: Sequence[str]
    outline_map: np.ndarray | None = None


def _caption(name: str, score: float | None) -> str:
    return name if score is None else f'{name} {score:.2f}'


def ground_truth_regions(sample: DetDataSample, classes: Sequence[str], task: str) -> Regions:
    """What the annotation says of a task; crowds are shown, and marked.

    Args:
        sample: Sample with ``gt_panoptic_seg`` and ``segments_info``.
        classes: Names of the classes.
        task: A task word: all segments, those of things, or one region per class.
    """
    segments = sample.segments_info
    segment_map = sample.gt_panoptic_seg.sem_seg[0].cpu().numpy()
    if task == 'semantic':
        label_of = np.array([0] + [segment['label'] + 1 for segment in segments])
        return Regions('ground truth', label_of[segment_map], range(len(classes)), classes)
    if task == 'instance':
        is_thing = np.array([False] + [segment['isthing'] for segment in segments])
        segment_map = np.where(is_thing[segment_map], segment_map, 0)
    captions = [s['category'] + (' (crowd)' if s['iscrowd'] else '') for s in segments]
    return Regions('ground truth', segment_map, [s['label'] for s in segments], captions)


def panoptic_regions(sample: DetDataSample, classes: Sequence[str], score_thr: float) -> Regions:
    """Segments of the panoptic prediction, with their scores where it has them."""
    panoptic = sample.pred_panoptic_seg
    pred_map, infos = panoptic.sem_seg[0].cpu().numpy(), panoptic.get('segments_info')
    id_map, segments = decode_segments(pred_map, len(classes), infos)
    region_of = np.zeros(max((s['id'] for s in segments), default=0) + 1, np.int32)
    region_of[[s['id'] for s in segments]] = range(1, len(segments) + 1)
    captions = [_caption(classes[s['label']], s.get('score')) for s in segments]
    return Regions('panoptic', region_of[id_map], [s['label'] for s in segments], captions)


def instance_regions(sample: DetDataSample, classes: Sequence[str], score_thr: float) -> Regions:
    """Instances above ``score_thr``, from the best; where they overlap the best is on top."""
    instances = sample.pred_instances
    scores = instances.scores.cpu()
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] > score_thr].tolist()
    region_map = np.zeros(tuple(instances.masks.shape[1:]), np.int32)
    for number, index in reversed(list(enumerate(order, start=1))):
        region_map[instances.masks[index].cpu().numpy()] = number
    labels = instances.labels[order].tolist()
    captions = [_caption(classes[k], float(scores[index])) for k, index in zip(labels, order)]
    return Regions('instance', region_map, labels, captions)


def semantic_regions(sample: DetDataSample, classes: Sequence[str], score_thr: float) -> Regions:
    """One region per class."""
    region_map = sample.pred_sem_seg.sem_seg[0].cpu().numpy() + 1
    return Regions('semantic', region_map, range(len(classes)), classes)


PREDICTIONS = dict(
    panoptic=('pred_panoptic_seg', panoptic_regions),
    instance=('pred_instances', instance_regions),
    semantic=('pred_sem_seg', semantic_regions),
)
