"""Build what a dataset's download lacks: ``prepare_dataset.py ade20k --data-root DIR``."""

import argparse
import os
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from oneformer.preparation import PREPARATIONS, prepare  # noqa: E402
from oneformer.training.arguments import ToolParser  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = ToolParser(
        description='Build what the official download of a dataset lacks, and check the counts. '
        'A run that was killed goes on when the same command is given again.'
    )
    parser.add_argument('dataset', choices=list(PREPARATIONS))
    parser.add_argument('--data-root', required=True, help='folder of the unpacked download')
    parser.add_argument('--splits', nargs='+', choices=['train', 'val'], default=['train', 'val'])
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes (%(default)s)'
    )
    args = parser.parse_args()
    if args.workers < 1:
        parser.error('--workers has to be at least 1')
    return args


def main() -> None:
    args = parse_args()
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


if __name__ == '__main__':
    main()
