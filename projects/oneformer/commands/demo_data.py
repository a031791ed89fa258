"""Draw the quick start's images and their panoptic labels."""

import sys
from collections.abc import Sequence

from ..quickstart.scenes import SCENES, generate
from .arguments import ToolParser


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Draw a small panoptic dataset in COCO format, the same for the same seed: '
        'shaded things on textured stuff, or with --scenes streets, whose things are small.',
    )
    parser.add_argument('out_dir', help='folder to create')
    parser.add_argument(
        '--scenes', choices=list(SCENES), default='toys', help='what to draw (%(default)s)'
    )
    parser.add_argument('--train', type=int, help='images to train on (480; of streets 240)')
    parser.add_argument('--val', type=int, help='images to evaluate on (80; of streets 40)')
    parser.add_argument('--size', type=int, help='image side, pixels (160; of streets 480)')
    parser.add_argument('--seed', type=int, default=0, help='of the random numbers (%(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='threads (%(default)s)')
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    try:
        generate(**vars(make_parser(prog).parse_args(argv)))
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
