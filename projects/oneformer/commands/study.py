"""Experiments whose tables are in docs/: ``oneformer study STUDY``.

``partial-labels`` splits the quick start's images in three, a third each with panoptic, only
instance, and only semantic labels of some of the classes, and compares training on all of them with
training on the panoptic third alone. ``contrastive-memory`` trains the quick start on one image at
a time, without and with a memory of past images in the contrastive loss. ``vit`` trains small plain
vision transformers from random weights, with the decoder and in two ways without one, and
EfficientNet-Lite0 on the quick start for as many CPU minutes each, and scores every task under
every token. All metrics go to ``work_dirs/STUDY.json``, the table to ``work_dirs/STUDY.md``.

``ablations`` trains each variant of the model with several seeds, in processes of one thread, each
with a JSON of its results; ``report`` makes tables of them, with a verdict on each claim of the
paper, and writes them into a page. An interrupted study goes on with what is missing.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from ..quickstart.scenes import generate
from ..studies import comparison, seeded_runs
from ..studies.ablations import DATA, VARIANTS
from ..studies.partial_labels import split_labels
from ..studies.plots import draw_confusion, draw_differences
from ..studies.report import read_results, write_report
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


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ablations(args: argparse.Namespace) -> None:
    """Train variants with seeds."""
    seeded_runs.prepare_data(args.data, args.images, args.val_images)
    runs = seeded_runs.all_runs(args.data, args.only, args.seeds, args.max_iters)
    seeded_runs.run_all(runs, args.results, args.jobs or _cores())
    print(f'results are in {args.results}; tables: oneformer study report --results {args.results}')


def report(args: argparse.Namespace) -> None:
    """Write the tables of stored results into a page, and plots if they are wanted."""
    try:
        write_report(args.results, args.page)
        if args.plots is not None:
            args.plots.mkdir(parents=True, exist_ok=True)
            results = read_results(args.results)
            draw_differences(results, args.plots / 'ablations.png')
            draw_confusion(results, args.plots / 'confusion.png')
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'error: {error}') from None
    print(f'tables of {args.results} are in {args.page}')


def add_ablations(studies: argparse._SubParsersAction) -> None:
    """Add the parsers of ``ablations`` and ``report``."""
    study = studies.add_parser('ablations', help="the paper's ablations, with seeds")
    study.add_argument('--data', choices=DATA, default=DATA[0], help='images (%(default)s)')
    study.add_argument(
        '--only', nargs='+', choices=VARIANTS, default=list(VARIANTS), help='variants (all)'
    )
    study.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='(%(default)s)')
    study.add_argument(
        '--jobs', type=int, help='trainings at a time, of one thread each (one for each core)'
    )
    study.add_argument('--images', type=int, default=480, help='to draw or to cut (%(default)s)')
    study.add_argument('--val-images', type=int, default=120, help='to score on (%(default)s)')
    study.add_argument('--max-iters', type=int, help='of the full model (that of the config)')
    study.set_defaults(run=ablations)
    page = studies.add_parser('report', help='tables of the stored results of ablations')
    page.add_argument('--page', type=Path, default='docs/evidence.md', help='(%(default)s)')
    page.add_argument(
        '--plots',
        type=Path,
        help='folder in which to draw ablations.png (differences) and confusion.png',
    )
    page.set_defaults(run=report)
    for parser in (study, page):
        parser.add_argument(
            '--results',
            type=Path,
            default=Path('work_dirs/ablations/results'),
            help='folder of the results (%(default)s)',
        )


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
    add_ablations(studies)
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if args.run in (ablations, report):
        if args.run is ablations:
            for name in ('jobs', 'images', 'val_images', 'max_iters'):
                if getattr(args, name) is not None:
                    parser.require_positive(args, name)
        args.run(args)
        return
    minutes = None if args.max_iters else args.minutes
    args.run(comparison.Scale(args.seeds, args.images, args.val_images, args.max_iters, minutes))
