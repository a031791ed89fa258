"""Build what a dataset's download lacks: ``oneformer prepare ade20k --data-root DIR``."""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool

from ..preparation import PREPARATIONS, prepare
from .arguments import ToolParser, add_workers


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Build what the official download of a dataset lacks, and check the counts. '
        'A run that was killed goes on when the same command is given again.',
    )
    parser.add_argument('dataset', choices=list(PREPARATIONS))
    parser.add_argument('--data-root', required=True, help='folder of the unpacked download')
    parser.add_argument('--splits', nargs='+', choices=['train', 'val'], default=['train', 'val'])
    add_workers(parser)
    return parser


def parse_args(argv: Sequence[str] | None, prog: str | None) -> argparse.Namespace:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    parser.require_positive(args, 'workers')
    return args


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(argv, prog)
    try:
        warnings = prepare(args.dataset, args.data_root, args.splits, args.workers)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    except BrokenProcessPool:
        sys.exit('error: a process was killed, perhaps for its memory: try fewer --workers')
    except KeyboardInterrupt:
        sys.exit('interrupted: the same command goes on from here')
    for warning in warnings:
        print(f'WARNING: {warning}', file=sys.stderr)
