"""Training beside Hugging Face's OneFormer: the same weights, images, targets and points.

A small Swin model of each side is trained in float64 with AdamW, without dropout, on crops of COCO,
each with a task that is drawn for it. At every step are compared:

* losses: the largest relative difference of any of them.
* parameters: the largest of ``norm(ours - peer) / norm(peer)`` over all, after the step.
* moved: the same of the start in place of the peer, to tell how far training has come.

Their text encoder lacks its causal mask, so ours goes without here. If a difference is more than
``--tolerance``, the command ends with an error, after the plot is written.
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from oneformer.studies.plots import save_figure

from . import by_module, peers
from .timing import CPU, Figure, OutOfBounds, ResultsDiffer, positive_int

IMAGES = 2  # of a step
SCALES = (0.5, 2.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--steps', type=positive_int, default=200, help='(%(default)s)')
    parser.add_argument(
        '--ann-file',
        type=Path,
        default='data/coco/annotations/panoptic_val2017.json',
        help="in COCO's panoptic format and classes (%(default)s)",
    )
    parser.add_argument(
        '--images', type=Path, default='data/coco/val2017', help='folder (%(default)s)'
    )
    parser.add_argument(
        '--segment-maps',
        type=Path,
        default='data/coco/annotations/panoptic_val2017',
        help='folder (%(default)s)',
    )
    parser.add_argument('--size', type=positive_int, default=96, help='of crops (%(default)s)')
    parser.add_argument(
        '--points', type=positive_int, help='sampled for a mask (as many as a crop has pixels)'
    )
    parser.add_argument(
        '--tolerance', type=float, default=1e-6, help='relative difference (%(default)s)'
    )
    parser.add_argument('--plot', type=Path, help='also draw the differences of all steps')


def make_dataset(args: argparse.Namespace):
    """Crops of images with their targets, as training on COCO makes them, but small."""
    init_default_scope('mmdet')
    cfg = Config.fromfile(peers.shapes.CONFIGS / 'oneformer_swin-t_coco.py')
    dataset = cfg.train_dataloader.dataset
    for step in dataset.pipeline:
        if step.type == 'LargeScaleJitter':
            step.update(size=args.size, scale_range=SCALES)
    dataset.update(
        data_root='',
        ann_file=str(args.ann_file),
        data_prefix=dict(img=str(args.images), seg=str(args.segment_maps)),
    )
    return DATASETS.build(dataset)


def draw_batches(dataset, preprocessor: nn.Module, steps: int) -> Iterator[tuple[Tensor, list]]:
    """Images (B, 3, H, W), normalised, and samples of each step."""
    for step in range(steps):
        set_random_seed(step)
        samples = [dataset[(IMAGES * step + k) % len(dataset)] for k in range(IMAGES)]
        batch = preprocessor(pseudo_collate(samples), training=True)
        yield batch['inputs'].double(), batch['data_samples']


def relative(ours: Tensor, peer: Tensor) -> float:
    """Norm of a difference relative to the norm of the peer's."""
    return float((ours - peer).norm() / peer.norm())


def largest(ours: Mapping[str, Tensor], peer: Mapping[str, Tensor]) -> float:
    """The largest relative difference of tensors with the same names.

    Raises:
        ResultsDiffer: If a name is missing on a side.
    """
    if ours.keys() != peer.keys():
        raise ResultsDiffer(f'only one side has {sorted(ours.keys() ^ peer.keys())}')
    return float(np.max([relative(ours[name], peer[name]) for name in peer]))  # nan if one is


def train_beside(args: argparse.Namespace) -> dict[str, list[float]]:
    """Differences of losses and of parameters, and how far these have moved, after each step."""
    dataset = make_dataset(args)
    # two targets that no point touches cost the same, and rounding would choose: many points
    shape = peers.SMALL._replace(queries=40, points=args.points or args.size**2)
    classes = len(dataset.metainfo['classes'])
    peer = peers.build_hugging_face(shape, True, CPU, classes)
    ours = peers.build_ours(shape, True, CPU, dataset='coco')
    peers.share_weights(ours, peer)
    preprocessor = ours.data_preprocessor
    models = [peers.without_dropout(model).double().train() for model in (peer, ours)]
    optimizers = [
        torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05) for model in models
    ]
    start = {name: parameter.detach().clone() for name, parameter in ours.named_parameters()}
    found: dict[str, list[float]] = dict(losses=[], parameters=[], moved=[])
    for step, (images, samples) in enumerate(draw_batches(dataset, preprocessor, args.steps)):
        inputs = peers.hugging_face_inputs(images, samples, shape.texts)
        with peers.same_points(ours, step), peers.same_texts(ours, inputs['text_inputs']):
            theirs = peers.hugging_face_losses(peer, inputs)
            losses = ours(images, samples, mode='loss')
        for optimizer, values in zip(optimizers, (theirs, losses)):
            optimizer.zero_grad()
            sum(values.values()).backward()
            optimizer.step()
        now = dict(ours.named_parameters())
        with torch.no_grad():
            found['losses'].append(largest(losses, theirs))
            found['parameters'].append(
                largest(now, peers.renamed_weights(dict(peer.named_parameters())))
            )
            found['moved'].append(largest(now, start))
        if (step + 1) % 20 == 0:
            print(
                f'{step + 1:5d}/{args.steps}  loss {sum(losses.values()).item():.2f}  difference '
                f'of losses {found["losses"][-1]:.1e}, of parameters {found["parameters"][-1]:.1e}',
                flush=True,
            )
    return found


def draw(found: Mapping[str, list[float]], file: Path) -> None:
    """Draw the differences of all steps on a logarithmic scale."""
    from matplotlib.figure import Figure as Picture

    words = dict(
        losses='largest difference of a loss',
        parameters='largest difference of a parameter',
        moved='largest way of a parameter from its start',
    )
    picture = Picture((7, 4), layout='constrained')
    axis = picture.subplots()
    for name, text in words.items():
        axis.semilogy(range(1, len(found[name]) + 1), found[name], label=text)
    axis.set_xlabel('step of AdamW')
    axis.set_ylabel('relative')
    axis.set_title("ours and Hugging Face's OneFormer, small Swin, float64", fontsize=10)
    axis.legend()
    save_figure(picture, file)


def run(args: argparse.Namespace) -> list[Figure]:
    """Train both, and tell the largest differences.

    Raises:
        OutOfBounds: If one is above the tolerance.
    """
    peers.require_transformers()
    if args.plot is not None:
        by_module.require_matplotlib()
    with peers.double_precision():
        found = train_beside(args)
    if args.plot is not None:
        draw(found, args.plot)
    worst = {name: float(np.max(values)) for name, values in found.items()}
    note = f'relative, of {args.steps} steps'
    figures = [Figure(f'parity/{name}', value, note) for name, value in worst.items()]
    if not (worst['losses'] <= args.tolerance and worst['parameters'] <= args.tolerance):  # or nan
        text = 'losses differ by up to {losses:.1e}, parameters by {parameters:.1e}'
        raise OutOfBounds(text.format(**worst), figures)
    return figures
