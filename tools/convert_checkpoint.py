"""Convert a checkpoint: ``python tools/convert_checkpoint.py SRC DST``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from oneformer.training.arguments import ToolParser  # noqa: E402
from oneformer.weights import read, write  # noqa: E402
from oneformer.weights.names import MARKS  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = ToolParser(
        description='Convert a checkpoint of the original (.pth, .pkl), of Hugging Face (a folder) '
        'or of this plugin to one of the three, or the ImageNet weights of a backbone to this '
        'plugin. Where it comes from is read from its keys. It fails with the list of keys if one '
        'is missing, unknown or of a wrong shape.'
    )
    parser.add_argument('source', help='checkpoint file or URL, or folder of Hugging Face')
    parser.add_argument('destination', help='file to write, or folder for Hugging Face')
    parser.add_argument('--to', choices=list(MARKS), default='plugin', help='(%(default)s)')
    parser.add_argument(
        '--config', help='config the model has to fit (default: read from the shapes)'
    )
    parser.add_argument(
        '--metainfo',
        help='name of a dataset, or a JSON file with classes and thing_classes '
        '(default: of the checkpoint, or by the number of classes)',
    )
    parser.add_argument(
        '--drop-text-branch', action='store_true', help='leave out what only training uses'
    )
    parser.add_argument(
        '--trust-pickle',
        action='store_true',
        help='load pickles of more than tensors (all .pkl): they may run any code',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a destination that exists'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        written = write(
            read(args.source, args.trust_pickle),
            args.destination,
            args.to,
            metainfo=args.metainfo,
            config=args.config,
            drop_text_branch=args.drop_text_branch,
            overwrite=args.overwrite,
        )
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(written)


if __name__ == '__main__':
    main()
