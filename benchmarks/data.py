"""From files to targets: ours against mmdet's ``LoadPanopticAnnotations`` and later steps.

Both sides take one image through four steps: load the image, make targets of the panoptic PNG, pack
the sample, expand it to labels and one mask per target, as Mask2Former's criterion takes them (ours
samples the map). Measured are

* targets: from the decoded PNG to the result of the second step. Ours is a map of
  targets, their labels and texts; mmdet's are masks of things and a semantic map.
* masks: the same, packed and expanded, by ``Targets.masks`` or by Mask2Former's
  ``preprocess_panoptic_gt``.
* sample: from the two files to the packed sample.
* sample_masks: all four steps.
"""

import argparse
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoPanopticDataset
from mmdet.datasets.transforms import LoadPanopticAnnotations, PackDetInputs
from mmdet.datasets.transforms import loading as mmdet_loading
from mmdet.models.utils import preprocess_panoptic_gt

from oneformer.datasets import (
    LoadPhoto,
    LoadSegmentMap,
    PackSegmentInputs,
    PanopticDataset,
    SampleTask,
    label_images,
)
from oneformer.models.targets import batch_targets

from .panopticapi_parts import standing_in
from .scenes import NUM_STUFF, NUM_THINGS, draw_image, draw_segments, write_set
from .timing import ResultsDiffer, Row, Variant, alternate, positive_int

Step = Callable[[Any], Any]

IS_THING = [label < NUM_THINGS for label in range(NUM_THINGS + NUM_STUFF)]

# name, the steps that are timed, whether the PNG is decoded before
WORK = (
    ('targets', slice(1, 2), True),
    ('masks', slice(1, 4), True),
    ('sample', slice(0, 3), False),
    ('sample_masks', slice(0, 4), False),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--height', type=positive_int, default=1024)
    parser.add_argument('--width', type=positive_int, default=2048)
    parser.add_argument('--segments', type=positive_int, default=60)
    parser.add_argument(
        '--repeats',
        type=positive_int,
        default=5,
        help='rounds after the warm-up; three times as many where masks are not expanded',
    )


def our_expansion(packed: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (N,) and masks (N, H, W), bool."""
    sample = packed['data_samples']
    sample.set_metainfo(dict(batch_input_shape=sample.img_shape))
    (targets,) = batch_targets([sample], IS_THING)
    return targets.labels, targets.masks


def mmdet_expansion(packed: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (N,) and masks (N, H, W), as Mask2Former's head takes them."""
    things, stuff = packed['data_samples'].gt_instances, packed['data_samples'].gt_sem_seg
    return preprocess_panoptic_gt(things.labels, things.masks, stuff.sem_seg, NUM_THINGS, NUM_STUFF)


def make_steps() -> dict[str, Sequence[Step]]:
    """The four steps of both sides, those of their training pipelines without augmentation."""
    load_map, sample_task = LoadSegmentMap(), SampleTask(probs=dict(panoptic=1))
    return dict(
        ours=(
            LoadPhoto(),
            lambda results: sample_task(load_map(results)),
            PackSegmentInputs(),
            our_expansion,
        ),
        mmdet=(
            LoadImageFromFile(),
            LoadPanopticAnnotations(),
            PackDetInputs(),
            mmdet_expansion,
        ),
    )


def take(steps: Sequence[Step], sample: Any) -> Any:
    """Apply one step after the other."""
    return reduce(lambda value, step: step(value), steps, sample)


def target_set(labels: torch.Tensor, masks: torch.Tensor) -> list[tuple[int, bytes]]:
    """Pairs of label and mask, in an order that depends on these only."""
    packed = [np.packbits(mask.numpy().astype(bool)).tobytes() for mask in masks]
    return sorted(zip(labels.tolist(), packed))


def check_equal(ours: tuple, theirs: tuple) -> None:
    """Raise ResultsDiffer unless both (labels, masks) are the same targets, in any order."""
    if target_set(*ours) != target_set(*theirs):
        raise ResultsDiffer(
            f'the {len(ours[0])} targets of ours and the {len(theirs[0])} of mmdet are not the same'
        )


@contextmanager
def decoded(path: str) -> Iterator[None]:
    """Patch both loaders to take the PNG at ``path`` as decoded, without reading the file."""
    png = cv2.imread(path)
    red_first = np.ascontiguousarray(png[..., ::-1])
    decode = label_images.decode_image
    reader = SimpleNamespace(imfrombytes=lambda *_, **__: red_first)
    with (
        mock.patch.object(
            label_images,
            'decode_image',
            lambda data, p, what: png if p == path else decode(data, p, what),
        ),
        mock.patch.object(mmdet_loading, 'mmcv', reader),
        mock.patch.object(mmdet_loading, 'get', lambda *_, **__: b''),
    ):
        yield


def measure(
    steps: Mapping[str, Sequence[Step]], infos: Mapping[str, dict], timed: slice, repeats: int
) -> dict[str, list[float]]:
    """Seconds per round of the timed steps; those before are prepared, those after compared."""
    variants = {
        name: Variant(
            run=lambda sample, own=own: take(own[timed], sample),
            prepare=lambda own=own, info=infos[name]: take(own[: timed.start], dict(info)),
        )
        for name, own in steps.items()
    }

    def check(results: dict) -> None:
        check_equal(*(take(own[timed.stop :], results[name]) for name, own in steps.items()))

    return alternate(variants, repeats, check)


def run(args: argparse.Namespace) -> list[Row]:
    """Draw one image, and for each amount of work compare the targets and time it."""
    rng = np.random.default_rng(0)
    scene = draw_segments(rng, args.height, args.width, args.segments)
    rows = []
    with tempfile.TemporaryDirectory() as folder, standing_in():
        write_set(Path(folder), [scene], [draw_image(rng, scene[0])])
        dataset = dict(
            ann_file='panoptic.json', data_root=folder, data_prefix=dict(img='img/', seg='seg/')
        )
        with redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            infos = dict(
                ours=PanopticDataset(**dataset, metainfo='coco').get_data_info(0),
                mmdet=CocoPanopticDataset(**dataset).get_data_info(0),
            )
        path = infos['ours']['seg_map_path']
        steps = make_steps()
        for name, timed, from_decoded in WORK:
            with decoded(path) if from_decoded else nullcontext():
                expands = timed.stop == 4
                rounds = args.repeats * (1 if expands else 3)  # quick work has noisier times
                seconds = measure(steps, infos, timed, rounds)
            rows.append(Row(f'data/{name}/mmdet', seconds['ours'], seconds['mmdet']))
    return rows
