"""Check the labels of a config's datasets: ``python tools/check_dataset.py CONFIG``."""

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from oneformer.host.safe_io import write_json  # noqa: E402
from oneformer.inspection.checking import check_config  # noqa: E402
from oneformer.inspection.configured import SPLITS  # noqa: E402
from oneformer.inspection.summary import count_errors, findings_text, summary_text  # noqa: E402
from oneformer.training.arguments import ToolParser  # noqa: E402
from oneformer.training.cli import add_config_arguments, read_config  # noqa: E402

FIRST = 5  # findings of a kind to print


def parse_args() -> argparse.Namespace:
    parser = ToolParser(
        description='Report what is wrong with the labels of a config, and what they hold. '
        'The exit code is 1 if there are errors, and 0 if there are only warnings.'
    )
    add_config_arguments(parser)
    parser.add_argument('--split', nargs='+', choices=SPLITS, default=SPLITS)
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes (%(default)s)'
    )
    parser.add_argument('--out-json', help='write all findings and the summary to this file')
    args = parser.parse_args()
    if args.workers < 1:
        parser.error('--workers has to be at least 1')
    return args


def main() -> None:
    args = parse_args()
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


if __name__ == '__main__':
    main()
