"""DiNAT-L against Swin-L: time and memory of one forward pass of the backbone, in evaluation.

Both are the backbones of OneFormer's published models and have the same outputs: four maps of
strides 4 to 32 with 192 to 1536 channels. Their weights are random. Measured are

* seconds: of one pass; the two take turns in one process.
* bytes: the peak of a process that does one pass, above what it had before the model was built.
"""

import argparse
from collections.abc import Mapping
from functools import partial

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from . import memory, peers
from .timing import ResultsDiffer, Row, Variant, alternate, fix_threads, positive_int

CONFIGS = peers.shapes.CONFIGS / '_base_/models'
NAMES = dict(ours='dinat-l', peer='swin-l')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--size', type=positive_int, default=512, help='height and width')
    parser.add_argument('--repeats', type=positive_int, default=3, help='rounds after the warm-up')


def read(name: str) -> dict:
    """Config of a published backbone, without the file of its weights."""
    return dict(Config.fromfile(CONFIGS / f'oneformer_{name}.py').model.backbone, init_cfg=None)


def build(config: Mapping) -> nn.Module:
    """A backbone with random weights, in evaluation."""
    init_default_scope('mmdet')
    backbone = MODELS.build(config)
    backbone.eval()
    return backbone


def forward(backbone: nn.Module, size: int) -> list[tuple[int, ...]]:
    """One pass of a square image; returns the shapes of the outputs."""
    with torch.inference_mode():
        return [tuple(feature.shape) for feature in backbone(torch.zeros(1, 3, size, size))]


def peak_bytes(config: Mapping, size: int, threads: int) -> int:
    """Memory of this process for a backbone and one pass, if it is its first work."""
    fix_threads(threads)
    before = memory.lifetime_peak()
    forward(build(config), size)
    return max(memory.lifetime_peak() - before, 1)


def same_shapes(shapes: Mapping[str, list]) -> None:
    if shapes['ours'] != shapes['peer']:
        raise ResultsDiffer(f'features of DiNAT are {shapes["ours"]}, of Swin {shapes["peer"]}')


def run(args: argparse.Namespace) -> list[Row]:
    """Measure time and memory."""
    configs = {side: read(name) for side, name in NAMES.items()}
    peaks = {
        name: [memory.in_own_process(peak_bytes, config, args.size, args.threads)]
        for name, config in configs.items()
    }
    models = {name: build(config) for name, config in configs.items()}
    variants = {
        name: Variant(
            run=lambda backbone: forward(backbone, args.size),
            prepare=partial(models.get, name),
        )
        for name in models
    }
    seconds = alternate(variants, args.repeats, same_shapes)
    return [
        Row('backbones/dinat/time', seconds['ours'], seconds['peer']),
        Row('backbones/dinat/memory', peaks['ours'], peaks['peer'], 'bytes'),
    ]
