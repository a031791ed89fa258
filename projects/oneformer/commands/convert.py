"""Convert a checkpoint: ``oneformer convert SRC DST``."""

import sys
from collections.abc import Sequence

from ..tasks import TASKS
from ..weights import read, write
from ..weights.differences import WHOLE, add_base
from ..weights.names import TARGETS
from .arguments import ToolParser, add_trust_pickle


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Convert a checkpoint of the original (.pth, .pkl), of Hugging Face (a '
        'folder), of EoMT (.bin, .ckpt) or of this plugin to another of these, or the ImageNet '
        'weights of a backbone to this plugin. Where it comes from is read from its keys. It fails '
        'with the list of keys if one is missing, unknown or of a wrong shape.',
    )
    parser.add_argument('source', help='checkpoint file or URL, or folder of Hugging Face')
    parser.add_argument('destination', help='file to write, or folder for Hugging Face')
    parser.add_argument('--to', choices=TARGETS, default='plugin', help='(%(default)s)')
    parser.add_argument(
        '--config', help='config the model has to fit (default: read from the shapes)'
    )
    parser.add_argument(
        '--metainfo',
        help='name of a dataset, or a JSON file with classes and thing_classes '
        '(default: of the checkpoint, or by the number of classes)',
    )
    parser.add_argument(
        '--tasks',
        nargs='+',
        choices=TASKS,
        help='tasks that an EoMT was trained for (default: by the name of its file or folder)',
    )
    parser.add_argument(
        '--base',
        help='weights of DINOv3 to which those of EoMT are added, which are published as a '
        f'difference; {WHOLE} if they are whole',
    )
    parser.add_argument(
        '--drop-text-branch', action='store_true', help='leave out what only training uses'
    )
    add_trust_pickle(parser)
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a destination that exists'
    )
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = make_parser(prog).parse_args(argv)
    try:
        weights = read(args.source, args.trust_pickle)
        if args.base is not None:
            add_base(weights, args.base, args.trust_pickle)
        written = write(
            weights,
            args.destination,
            args.to,
            metainfo=args.metainfo,
            config=args.config,
            drop_text_branch=args.drop_text_branch,
            overwrite=args.overwrite,
            tasks=args.tasks,
        )
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(written)
