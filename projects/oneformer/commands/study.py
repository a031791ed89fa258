"""Experiments whose tables are in docs/: ``oneformer study STUDY``.

``partial-labels`` splits the quick start's images in three, a third each with panoptic, only
instance, and only semantic labels of some of the classes, and compares training on all of them with
training on the panoptic third alone. ``contrastive-memory`` trains the quick start on one image at
a time, without and with a memory of past images in the contrastive loss. ``vit`` trains small plain
vision transformers from random weights, with the decoder and in two ways without one, and
EfficientNet-Lite0 on the quick start for as many CPU minutes each, and scores every task under
every token. All metrics go to ``work_dirs/STUDY.json``, the table to ``work_dirs/STUDY.md``. An
interrupted run continues with the next training.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from ..quickstart.scenes import generate
from ..studies import comparison
from ..studies.partial_labels import split_labels
from ..training.evaluate import matrix_table
from .arguments import ToolParser


def draw_images(study: str, variant: str, scale: comparison.Scale) -> Config:
    """Generate the images of a study, which a config of it names."""
    cfg = Config.fromfile(comparison.study_config(study, variant))
    generate(Path(cfg.data_root), train=scale.images, val=scale.val_images)
    return cfg


def partial_labels(scale: comparison.Scale) -> None:
    """Compare training on the panoptic third with training on all thirds."""
    joint = draw_images('partial-labels', 'joint', scale)
    classes = joint.train_dataloader.dataset.datasets[2].label_classes
    split_labels(Path(joint.data_root), list(classes))
    comparison.compare('partial-labels', ('alone', 'joint'), scale)


def contrastive_memory(scale: comparison.Scale) -> None:
    """Compare training on one image at a time without and with a memory of past images."""
    draw_images('contrastive-memory', 'with', scale)
    comparison.compare('contrastive-memory', ('without', 'with'), scale)


def vit(scale: comparison.Scale) -> None:
    """Compare vision transformers with and without a decoder, and EfficientNet-Lite0."""
    draw_images('vit', 'decoder', scale)
    variants = ('encoder-only', 'encoder-only-shared', 'decoder', 'efficientnet-lite0')
    runs = comparison.compare('vit', variants, scale, tokens=True)
    for name, run in runs.items():
        print(f'\n{name}, {run["cpu_minutes"]:.1f} CPU minutes\n\n{matrix_table(run["tokens"])}')


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    studies = parser.add_subparsers(dest='study', required=True)
    for name, run, images, seeds, what in (
        ('partial-labels', partial_labels, 120, 3, 'joint training on three kinds of labels'),
        ('contrastive-memory', contrastive_memory, 480, 3, 'one image at a time, and past ones'),
        ('vit', vit, 480, 1, 'vision transformers, from random weights'),
    ):
        study = studies.add_parser(name, help=what)
        study.add_argument(
            '--seeds', type=int, default=seeds, help='trainings of each kind (%(default)s)'
        )
        study.add_argument('--images', type=int, default=images, help='to train on (%(default)s)')
        study.add_argument('--val-images', type=int, default=80, help='to score on (%(default)s)')
        study.add_argument('--max-iters', type=int, help='of each training (that of the configs)')
        study.set_defaults(run=run, minutes=None)
        if run is vit:
            study.add_argument(
                '--minutes',
                type=float,
                default=30,
                help='CPU minutes of each training, unless --max-iters is given (%(default)s)',
            )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = make_parser(prog).parse_args(argv)
    minutes = None if args.max_iters else args.minutes
    args.run(comparison.Scale(args.seeds, args.images, args.val_images, args.max_iters, minutes))
