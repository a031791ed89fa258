"""Draw what a config's training sees: ``python tools/browse_dataset.py CONFIG``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from oneformer.inspection.browsing import browse  # noqa: E402
from oneformer.inspection.configured import SPLITS  # noqa: E402
from oneformer.training.arguments import ToolParser  # noqa: E402
from oneformer.training.cli import add_config_arguments, read_config  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = ToolParser(
        description='Draw augmented images with the targets and texts of each task that the labels '
        'can teach. Unknown pixels, which count in no loss, are hatched.'
    )
    add_config_arguments(parser)
    parser.add_argument('--split', choices=SPLITS, default='train')
    parser.add_argument('--num', type=int, default=10, help='pictures of each set (%(default)s)')
    parser.add_argument('--out-dir', help='folder of the pictures; default: browse in the work dir')
    parser.add_argument('--seed', type=int, default=0, help='of the choice and the augmentation')
    args = parser.parse_args()
    if args.num < 1:
        parser.error('--num has to be at least 1')
    return args


def main() -> None:
    args = parse_args()
    cfg = read_config(args)
    work_dir = cfg.get('work_dir') or Path('work_dirs') / Path(args.config).stem
    out_dir = Path(args.out_dir or Path(work_dir) / 'browse')
    try:
        for path in browse(cfg, args.split, args.num, out_dir, args.seed):
            print(path)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}\ntools/check_dataset.py finds all faults at once')


if __name__ == '__main__':
    main()
