"""Convert labels of other tools: ``oneformer convert-labels yolo DATA.yaml data/mine``."""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from ..annotation_formats.choices import Choices
from ..annotation_formats.conversion import convert
from ..annotation_formats.formats import FORMATS
from ..annotation_formats.outputs import OUTPUTS
from .arguments import ToolParser, add_workers


def add_common(parser: argparse.ArgumentParser, kinds: tuple[str, ...]) -> None:
    """Add the arguments of every format."""
    parser.add_argument('source', type=Path, help='file or folder of the labels')
    parser.add_argument('destination', type=Path, help='folder for the converted labels')
    parser.add_argument(
        '--to',
        choices=[kind for kind in OUTPUTS if kind in kinds],
        default=kinds[0],
        help='COCO instance JSON, COCO panoptic JSON with PNGs, or PNGs of class numbers '
        '(%(default)s)',
    )
    parser.add_argument('--things', nargs='+', metavar='CLASS', help='classes that are counted')
    parser.add_argument('--stuff', nargs='+', metavar='CLASS', help='classes that are not counted')
    parser.add_argument(
        '--background',
        metavar='CLASS',
        help='name of the class of pixels without a label (with --to semantic or panoptic; without '
        'this option they are not scored and teach nothing)',
    )
    parser.add_argument(
        '--split',
        nargs='+',
        metavar='NAME=SHARE',
        help="divide anew (train=0.8 val=0.2; the default keeps the source's own parts if there "
        'are any)',
    )
    parser.add_argument(
        '--split-lists',
        nargs='+',
        metavar='NAME=FILE',
        help='files that list the images of each part, one a line',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the division (%(default)s)')
    parser.add_argument('--copy-images', action='store_true', help='copy the images, too')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace an earlier result in the destination'
    )
    add_workers(parser)


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Convert labels of other tools to files that the datasets here read. Images '
        'stay where they are. A run that was interrupted goes on when the same command is given '
        'again; nothing is overwritten without --overwrite.',
    )
    formats = parser.add_subparsers(dest='format', metavar='FORMAT', required=True)
    for name, source in FORMATS.items():
        sub = formats.add_parser(name, help=source.title, description=source.title)
        add_common(sub, source.kinds)
        before = {action.dest for action in sub._actions}
        source.add_options(sub)
        sub.set_defaults(own=[a.dest for a in sub._actions if a.dest not in before])
    return parser


def parse_args(argv: Sequence[str] | None, prog: str | None) -> tuple[argparse.Namespace, dict]:
    """The common arguments, and those of the format."""
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    parser.require_positive(args, 'workers')
    return args, {name: getattr(args, name) for name in args.own}


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args, options = parse_args(argv, prog)
    choices = Choices(
        kind=args.to,
        things=args.things,
        stuff=args.stuff,
        background=args.background,
        shares=args.split,
        lists=args.split_lists,
        seed=args.seed,
        copy_images=args.copy_images,
        overwrite=args.overwrite,
    )
    try:
        source = FORMATS[args.format](args.source, **options)
        text, errors = convert(source, args.format, args.destination, choices, args.workers)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    except BrokenProcessPool:
        sys.exit('error: a process was killed, perhaps for its memory: try fewer --workers')
    except KeyboardInterrupt:
        sys.exit('interrupted: the same command goes on from here')
    print(text)
    if errors:
        sys.exit(1)
