"""Draw what a config's training sees: ``oneformer browse CONFIG``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..inspection.browsing import browse
from ..inspection.configured import SPLITS
from .arguments import ToolParser
from .run_arguments import add_config_arguments, read_config


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Draw augmented images with the targets and texts of each task that the labels '
        'can teach. Unknown pixels, which count in no loss, are hatched.',
    )
    add_config_arguments(parser)
    parser.add_argument('--split', choices=SPLITS, default='train')
    parser.add_argument('--num', type=int, default=10, help='pictures of each set (%(default)s)')
    parser.add_argument('--out-dir', help='folder of the pictures; default: browse in the work dir')
    parser.add_argument('--seed', type=int, default=0, help='of the choice and the augmentation')
    return parser


def parse_args(argv: Sequence[str] | None, prog: str | None) -> argparse.Namespace:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    parser.require_positive(args, 'num')
    return args


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(argv, prog)
    cfg = read_config(args)
    work_dir = cfg.get('work_dir') or Path('work_dirs') / Path(args.config).stem
    out_dir = Path(args.out_dir or Path(work_dir) / 'browse')
    try:
        for path in browse(cfg, args.split, args.num, out_dir, args.seed):
            print(path)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}\noneformer check finds all faults at once')
