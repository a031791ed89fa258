"""Check the labels of a config's datasets: ``oneformer check CONFIG``."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict

from ..host.safe_io import write_json
from ..inspection.checking import check_config
from ..inspection.configured import SPLITS
from ..inspection.summary import count_errors, findings_text, summary_text
from .arguments import ToolParser, add_workers
from .run_arguments import add_config_arguments, read_config

FIRST = 5  # findings of a kind to print


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Report what is wrong with the labels of a config, and what they hold. '
        'The exit code is 1 if there are errors, and 0 if there are only warnings.',
    )
    add_config_arguments(parser)
    parser.add_argument('--split', nargs='+', choices=SPLITS, default=SPLITS)
    add_workers(parser)
    parser.add_argument('--out-json', help='write all findings and the summary to this file')
    return parser


def parse_args(argv: Sequence[str] | None, prog: str | None) -> argparse.Namespace:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    parser.require_positive(args, 'workers')
    return args


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(argv, prog)
    try:
        checked = check_config(read_config(args), args.split, args.workers)
        if args.out_json:
            write_json(args.out_json, {name: asdict(found) for name, found in checked.items()})
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(findings_text(checked, FIRST))
    print(summary_text(checked))
    errors = count_errors(checked)
    total = sum(len(found.findings) for found in checked.values())
    print(f'{errors} errors, {total - errors} warnings')
    if errors:
        sys.exit(1)
