"""Read ground truth and predictions out of a data sample, or say what is missing and what to do.

Legend: H, W original image size, S listed segments, K classes.
"""

import os.path as osp
from collections.abc import Mapping
from contextlib import contextmanager

import numpy as np

from ..datasets.searched_classes import Known
from ..host.transfers import fetch
from ..panoptic_codes import decode_segments
from ..run_length import code_area
from .mask_codes import encode_masks

REMEDIES = {
    'gt_panoptic_seg': 'load the panoptic map in the test pipeline, after Resize',
    'segments_info': 'use a panoptic dataset and pack segments_info in the test pipeline',
    'pred_panoptic_seg': "add 'panoptic' to test_cfg.tasks and predict at the original size",
    'pred_instances': "add 'instance' to test_cfg.tasks and predict at the original size",
    'pred_sem_seg': "add 'semantic' to test_cfg.tasks and predict at the original size",
}


def image_name(data_sample: Mapping) -> str:
    """``image_name`` of the sample, which may have folders, else the file name of the image."""
    return data_sample.get('image_name') or osp.basename(data_sample['img_path'])


def image_stem(data_sample: Mapping) -> str:
    """``image_stem`` of the sample, which names its results, else its name without suffix."""
    return data_sample.get('image_stem') or osp.splitext(image_name(data_sample))[0]


@contextmanager
def naming_image(data_sample: dict):
    """Put the image in front of the message of any ValueError raised inside."""
    try:
        yield
    except ValueError as error:
        image = f'image {data_sample.get("img_id")} ({data_sample.get("img_path")})'
        raise ValueError(f'{image}: {error}') from error


def read_field(data_sample: dict, *path: str):
    """The value at ``path`` of nested dicts; ValueError with the remedy if it is missing."""
    value = data_sample
    for key in path:
        if value is None or key not in value:
            raise ValueError(f'no field {".".join(path)}: {REMEDIES[path[0]]}')
        value = value[key]
    return value


def read_map(data_sample: dict, field: str) -> np.ndarray:
    """``data_sample[field]['sem_seg']`` as an array (H, W); ValueError unless of original size."""
    (label_map,) = fetch(read_field(data_sample, field, 'sem_seg'))
    label_map = label_map.numpy()
    expected = (1, *data_sample['ori_shape'][:2])
    if label_map.shape != expected:
        raise ValueError(
            f'{field}.sem_seg has shape {label_map.shape}, the original image '
            f'{expected}: {REMEDIES[field]}'
        )
    return label_map[0]


def read_ground_truth(data_sample: dict) -> tuple[np.ndarray, list]:
    """Map (H, W), 0 = void and k = segment k - 1, and the list of these S segments."""
    segments = read_field(data_sample, 'segments_info')
    gt_map = read_map(data_sample, 'gt_panoptic_seg')
    if gt_map.max() > len(segments):
        raise ValueError(
            f'gt_panoptic_seg.sem_seg has value {gt_map.max()}, but segments_info '
            f'lists {len(segments)} segments: {REMEDIES["segments_info"]}'
        )
    return gt_map, segments


def read_segments(data_sample: dict, num_classes: int) -> tuple[np.ndarray, list[dict]]:
    """Ids and segments of ``pred_panoptic_seg``, see ``decode_segments``."""
    codes = read_map(data_sample, 'pred_panoptic_seg')
    infos = data_sample['pred_panoptic_seg'].get('segments_info')
    return decode_segments(codes, num_classes, infos)


def read_known(data_sample: dict) -> Known | None:
    """Which classes the labels of the image tell of; None if they do not say it of the image."""
    if data_sample.get('searched_labels') is None:
        return None
    return Known(data_sample['known_labels'], data_sample['searched_labels'])


def read_instances(data_sample: dict, things: np.ndarray) -> tuple[list, list, list]:
    """Labels, scores and masks of ``pred_instances``.

    Args:
        data_sample: Sample with the prediction, as a metric has it. ``codes`` may stand in place of
            the masks, which one evaluator has encoded for all its metrics.
        things: Boolean array (K,).

    Returns:
        Lists of N labels, N scores and N run-length codes.

    Raises:
        ValueError: If they do not fit together or to the image, or a label is not a thing.
    """
    instances = read_field(data_sample, 'pred_instances')
    labels, scores = (read_field(data_sample, 'pred_instances', k) for k in ('labels', 'scores'))
    size = tuple(data_sample['ori_shape'][:2])
    codes = instances.get('codes')
    if codes is None:
        masks = read_field(data_sample, 'pred_instances', 'masks')
        if masks.shape != (len(labels), *size) or len(scores) != len(labels):
            raise ValueError(
                f'pred_instances has masks {tuple(masks.shape)} and {len(scores)} scores for '
                f'{len(labels)} labels of an image {size}: {REMEDIES["pred_instances"]}'
            )
        codes = encode_masks(masks)
    labels, scores = (column.tolist() for column in fetch(labels, scores))
    not_things = np.setdiff1d(labels, np.flatnonzero(things)).astype(int)
    if not_things.size:
        raise ValueError(
            f'pred_instances.labels has {not_things.tolist()}, which are not in '
            'thing_classes: keep only things in the instance prediction'
        )
    return labels, scores, codes


def coco_record(code: dict) -> dict:
    """A run-length code with its area in pixels, for COCO."""
    return dict(segmentation=code, area=code_area(code))


def read_detections(data_sample: dict, things: np.ndarray, known: Known | None = None) -> list:
    """``pred_instances`` as COCO results with labels; see ``read_instances`` for what it raises.

    An empty mask stays, pycocotools takes it for wrong. Classes that are not ``known`` in the
    image go.
    """
    return [
        dict(category_id=label, score=score, iscrowd=0, **coco_record(code))
        for label, score, code in zip(*read_instances(data_sample, things))
        if known is None or label in known.known
    ]
