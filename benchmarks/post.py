"""From logits to predictions: ``OneFormerImageProcessor`` of Hugging Face and ours, for each task.

Both get the same logits of one image at 1/4 of its size: 30 confident queries tile the image, and
the others say "no object", with faint masks. The rules are not quite the same:

* panoptic: ours leaves pixels void that the best query's mask does not cover. Compared are the
  labels of pixels that both label; 98 % must agree.
* semantic: ours adds up masks at full size, as the original; the other at 1/4, and resizes the
  sums, which is coarser. 99 % of the pixels must have the same label.
* instance: all pairs of query and class that the original takes (``is_demo=False``). Ours has one
  mask per pair, and a score with the quality of the mask; the other has one map without overlaps,
  made of raw logits, and keeps stuff. So only classes can be compared: each thing class that the
  other finds must be among ours.
* memory: the largest peak over the tasks, each of a process that makes one prediction, above what
  it held with the logits.
"""

import argparse
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.structures import DetDataSample
from torch import Tensor, nn

from oneformer.kernels.mask_resize import MaskResize
from oneformer.models.oneformer_head import ImageOutputs
from oneformer.tasks import TASKS

from . import memory, peers
from .scenes import draw_cells, smooth_noise
from .timing import ResultsDiffer, Row, Variant, add_device, alternate, fix_threads, positive_int

CONFIDENT = 30
ALIKE = 0.98  # of pixels: masks are resized as logits here, as probabilities there
# of query and class, as many as queries
ALL_PAIRS = dict(panoptic={}, instance=dict(is_demo=False), semantic={})
STUFF = {
    label for label, name in enumerate(peers.CLASSES) if name not in peers.ADE20K['thing_classes']
}


class Logits(NamedTuple):
    """Logits of one image."""

    scores: Tensor  # Q K+1
    masks: Tensor  # Q H/4 W/4


class GivenMasks(ImageOutputs):
    """Outputs for an image whose mask logits are given as ``mask_features``."""

    def mask_logits(self, index: Tensor | slice = slice(None)) -> Tensor:
        return self.mask_features[index]


def _queries(text: str) -> int:
    """Type of the argument."""
    if positive_int(text) < CONFIDENT:
        raise argparse.ArgumentTypeError(f'must be at least {CONFIDENT}, not {text}')
    return int(text)


def _side(text: str) -> int:
    """Type of a height or width."""
    if positive_int(text) % 4:
        raise argparse.ArgumentTypeError(f'must be a multiple of 4, not {text}')
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--height', type=_side, default=1024, help='a multiple of 4')
    parser.add_argument('--width', type=_side, default=2048, help='a multiple of 4')
    parser.add_argument('--queries', type=_queries, default=150, help=f'at least {CONFIDENT}')
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')
    add_device(parser)


def draw_logits(height: int, width: int, num_queries: int, device: torch.device) -> Logits:
    """Logits of an image of the given size, a multiple of 4."""
    rng = np.random.default_rng(0)
    h, w = height // 4, width // 4
    cells = draw_cells(rng, h, w, CONFIDENT)
    masks = np.empty((num_queries, h, w), np.float32)
    for query, mask in enumerate(masks):
        noise = smooth_noise(rng, h, w, h / 8)[..., 0]
        if query < CONFIDENT:
            inside = (cells == query + 1).astype(np.float32)
            mask[:] = 12 * cv2.GaussianBlur(inside, (0, 0), 1) - 6 + noise
        else:
            mask[:] = 2 * noise - 3
    scores = rng.normal(0, 1, (num_queries, len(peers.CLASSES) + 1)).astype(np.float32)
    scores[CONFIDENT:, -1] += 10
    scores[np.arange(CONFIDENT), rng.integers(len(peers.CLASSES), size=CONFIDENT)] += 10
    return Logits(torch.from_numpy(scores).to(device), torch.from_numpy(masks).to(device))


def our_model(num_queries: int, device: torch.device) -> nn.Module:
    """A small model, since its network is not used; with classes and thresholds of ADE20K."""
    model = peers.build_ours(peers.SMALL, False, device)
    model.test_cfg['max_per_image'] = num_queries
    return model


@torch.no_grad()
def our_prediction(
    model: nn.Module, logits: Logits, size: tuple[int, int], task: str
) -> DetDataSample:
    """Prediction as ``OneFormer.predict`` makes it from the logits of an image."""
    sample = DetDataSample()
    resize = MaskResize(logits.masks.shape[1:], size, size, size, logits.masks.device)
    outputs = GivenMasks(logits.scores, None, logits.masks)
    model.post_process(sample, task, outputs, resize)
    return sample


def make_processor():
    """Hugging Face's processor; it needs no file of classes, since all pairs are wanted."""
    from transformers import OneFormerImageProcessor

    processor = OneFormerImageProcessor()
    processor.class_info_file = ''  # it looks for 'ade20k' in it, and then fails on stuff
    return processor


@torch.no_grad()
def peer_prediction(
    processor,
    logits: Logits,
    size: tuple[int, int],
    task: str,
    stuff: Collection[int] = STUFF,
    options: Mapping[str, Mapping] = ALL_PAIRS,
):
    """The prediction for one image.

    Args:
        processor: Its image processor.
        logits: Those of the image.
        size: Height and width.
        task: The task word.
        stuff: Labels of stuff.
        options: Options of its methods, by task.
    """
    outputs = SimpleNamespace(
        class_queries_logits=logits.scores[None], masks_queries_logits=logits.masks[None]
    )
    fused = dict(label_ids_to_fuse=stuff) if task == 'panoptic' else {}
    post_process = getattr(processor, f'post_process_{task}_segmentation')
    return post_process(outputs, target_sizes=[size], **fused, **options[task])[0]


def alike(ours: DetDataSample, peer: dict, num_classes: int) -> tuple[float, float]:
    """Share of the pixels that both sides label, and of these the share of equal labels.

    The peer's ids may stand for several labels; ours for a pixel without one is ``num_classes``.
    """
    labels = ours.pred_panoptic_seg.sem_seg[0].long() % INSTANCE_OFFSET
    ids = peer['segmentation'].long()
    means = torch.zeros(int(ids.max()) + 1, num_classes, dtype=torch.bool)
    for segment in peer['segments_info']:
        means[segment['id'], segment['label_id']] = True
    both = (labels < num_classes) & (ids > 0)
    same = means.to(ids.device)[ids[both], labels[both]].double().mean().item()
    return both.double().mean().item(), same


def check_panoptic(ours: DetDataSample, peer: dict) -> None:
    """Compare as in the module's text."""
    both, same = alike(ours, peer, len(peers.CLASSES))
    if both < 0.5 or not same >= ALIKE:
        raise ResultsDiffer(
            f'panoptic: of the pixels both sides label {both:.1%}, and of these {same:.1%} alike'
        )


def check_semantic(ours: DetDataSample, peer: Tensor) -> None:
    """Compare as in the module's text."""
    same = (ours.pred_sem_seg.sem_seg[0] == peer).double().mean().item()
    if not same >= 0.99:
        raise ResultsDiffer(f'semantic: {same:.1%} of the pixels have the same label')


def check_instance(ours: DetDataSample, peer: dict) -> None:
    """Compare as in the module's text."""
    theirs = {int(segment['label_id']) for segment in peer['segments_info']} - STUFF
    lacking = theirs - set(ours.pred_instances.labels.tolist())
    if lacking or not theirs:
        raise ResultsDiffer(f'instance: the peer finds the classes {theirs}, ours not {lacking}')


CHECKS = dict(panoptic=check_panoptic, semantic=check_semantic, instance=check_instance)


def make_work(
    side: str, height: int, width: int, num_queries: int, task: str, device: torch.device
) -> Callable:
    """The work of 'ours' or 'hf' on logits that are ready."""
    logits = draw_logits(height, width, num_queries, device)
    if side == 'ours':
        return partial(
            our_prediction, our_model(num_queries, device), logits, (height, width), task
        )
    return partial(peer_prediction, make_processor(), logits, (height, width), task)


def peak_bytes(threads: int, device: torch.device, *work) -> int:
    """Peak bytes of one prediction; the work of a process of its own."""
    fix_threads(threads)
    return memory.peak_of(make_work(*work, device), device)


def run(args: argparse.Namespace) -> list[Row]:
    """Compare and measure."""
    peers.require_transformers()
    rows, peaks = [], dict(ours=[], hf=[])
    for task in TASKS:
        given = args.height, args.width, args.queries, task
        variants = {
            side: Variant(
                lambda work: work(), partial(lambda w: w, make_work(side, *given, args.device))
            )
            for side in peaks
        }
        seconds = alternate(
            variants,
            args.repeats,
            lambda results, task=task: CHECKS[task](results['ours'], results['hf']),
            args.device,
        )
        rows.append(Row(f'post/{task}/hf', seconds['ours'], seconds['hf']))
        for side, of in peaks.items():
            of.append(memory.in_own_process(peak_bytes, args.threads, args.device, side, *given))
    largest = {side: [max(of)] for side, of in peaks.items()}
    return [*rows, Row('post/memory/hf', largest['ours'], largest['hf'], 'bytes')]
