"""Draw samples of training: augmented images with the targets and the texts of each task."""

import math
import os
import os.path as osp
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import cv2
import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.runner import set_random_seed

from ..datasets.geometry import resize_map
from ..datasets.overlaps import topmost_map
from ..datasets.task_sampling import derive_targets, sample_targets
from ..host.safe_io import write_png
from ..tasks import Prompts
from ..visualization import Regions, class_colors, paint, side_by_side, text_below, write_title
from .configured import configured_sets

_MIN_SIDE = 320  # pixels of a panel, below which captions could not be read
_MAX_SIDE = 1600  # pixels of a panel, where it is enlarged for its objects
_RECOGNISED = 20  # pixels of the side (root of the area) that half of the objects have at least
_ALPHA = 0.55


def steps_before_task(pipeline: Sequence[Mapping]) -> tuple[list[Mapping], Prompts]:
    """The steps of a pipeline that load and augment, and the prompts of its ``SampleTask``."""
    ends = ('SampleTask', 'PackSegmentInputs')
    steps = list(takewhile(lambda step: step['type'] not in ends, pipeline))
    sampling = next((step for step in pipeline if step['type'] == 'SampleTask'), {})
    return steps, Prompts(**(sampling.get('prompts') or {}))


def magnification(results: Mapping, segment_map: np.ndarray) -> int:
    """Factor by which an image is enlarged, so that captions are legible and objects visible.

    Args:
        results: A sample as it reaches ``SampleTask``.
        segment_map: Map of the size of its image, (H, W).
    """
    short, long = min(segment_map.shape), max(segment_map.shape)
    factor = -(-_MIN_SIDE // short)
    segments = results['segments_info']
    # the topmost of objects that overlap
    tops = [(k,) for k in range(1, len(segments) + 1)]
    tops = np.array([0, *(stack[0] for stack in results.get('region_segments') or tops)])
    pixels = np.bincount(tops[segment_map].ravel(), minlength=len(segments) + 1)[1:]
    objects = [n for n, s in zip(pixels, segments) if s['isthing'] and not s['iscrowd'] and n]
    if objects and results['labels_kind'] != 'semantic':
        wanted = math.ceil(_RECOGNISED / np.sqrt(np.median(objects)))
        factor = max(factor, min(wanted, _MAX_SIDE // long))
    return factor


def enlarge(
    image: np.ndarray, target_map: np.ndarray, factor: int
) -> tuple[np.ndarray, np.ndarray]:
    """An image and its map, enlarged by a whole factor."""
    height, width = image.shape[:2]
    size = height * factor, width * factor
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), resize_map(
        target_map, size
    )


def task_lines(texts: Sequence[str], filler: str) -> list[str]:
    """The text list of a task; a text that several targets share is written once."""
    lines = [f'{text}  x {n}' if n > 1 else text for text, n in Counter(texts).items()]
    return [*lines, f'others: {filler}']


def draw_overlaps(results: Mapping, regions: Regions) -> Regions:
    """Targets that overlap, the topmost on top; hidden parts are outlined."""
    classes, outlines = results['classes'], regions.region_map
    segment_map = topmost_map(results['gt_seg_map'], results['region_segments'])
    labels, target_map = derive_targets(
        segment_map, results['segments_info'], regions.title, results['ignore']
    )
    captions = [classes[label] for label in labels]
    return Regions(regions.title, target_map, labels, captions, outlines)


def draw_targets(results: Mapping, prompts: Prompts, colors: np.ndarray) -> np.ndarray:
    """The image, and a panel for each task that the labels can teach, with the texts below.

    Args:
        results: A sample as it reaches ``SampleTask``. The map of a test pipeline, which has the
            size of the image, is resized with it.
        prompts: Prompts that put targets into words.
        colors: Colours of the classes, uint8 of shape (K, 3).

    Returns:
        Picture in RGB, uint8.
    """
    classes = results['classes']
    image = results['img'].clip(0, 255).astype(np.uint8)[..., ::-1]
    segment_map = resize_map(results['gt_seg_map'], image.shape[:2])
    about = [
        results.get('image_name') or Path(results['img_path']).name,
        f'{image.shape[1]} x {image.shape[0]} pixels, {results["labels_kind"]} labels',
    ]
    if results['known_labels'] is not None:
        about.append(f'annotates {len(results["known_labels"])} of {len(classes)} classes')
    factor = magnification(results, segment_map)
    image, segment_map = enlarge(image, segment_map, factor)
    if factor > 1:
        about.append(f'drawn {factor} times as large')
    panels, texts = [image], [about]
    for task in results['tasks']:
        labels, target_map, members = sample_targets(dict(results, gt_seg_map=segment_map), task)
        regions = Regions(task, target_map, labels, [classes[label] for label in labels])
        if members is not None:
            regions = draw_overlaps(dict(results, gt_seg_map=segment_map), regions)
        panels.append(paint(image, regions, colors, _ALPHA))
        write_title(panels[-1], task)
        texts.append(task_lines(prompts.targets(labels, classes), prompts.filler_of(task)))
        if (target_map < 0).any() and 'hatched: unknown' not in about:
            about.append('hatched: unknown')
    return side_by_side(text_below(panels, texts))


def browse(
    cfg: Config, split: str, num: int, out_dir: str | os.PathLike, seed: int
) -> Iterator[Path]:
    """Write pictures of images drawn at random.

    Args:
        cfg: Config of training.
        split: See ``configured_sets``, which also says what is raised.
        num: Pictures of each dataset, at most.
        out_dir: Folder of the pictures, in which sub-folders of the images are mirrored.
        seed: Seed of the images drawn and of the augmentation.

    Yields:
        Paths of the pictures.

    Raises:
        ValueError: If labels are faulty, or a dataset has no labels.
    """
    for name, config in configured_sets(cfg, [split]).items():
        set_random_seed(seed)
        steps, prompts = steps_before_task(config['pipeline'])
        dataset = DATASETS.build({**config, 'pipeline': steps})
        classes = dataset.metainfo['classes']
        colors = class_colors(len(classes), dataset.metainfo.get('palette'))
        prefix = name.replace('[', '-').replace(']', '')
        for index in np.random.permutation(len(dataset))[:num].tolist():
            results = dataset[index]
            if 'gt_seg_map' not in results:
                raise ValueError(f'{dataset.ann_file} has no labels to draw')
            folder, stem = osp.split(results['image_stem'])
            path = Path(out_dir) / folder / f'{prefix}_{index:06d}_{stem}.png'
            write_png(path, draw_targets(results, prompts, colors))
            yield path
