"""Draw losses, learning rate and metrics of a training: ``oneformer curves WORK_DIR``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ..host.safe_io import write_bytes
from ..training.curve_drawing import draw_curves
from ..training.scalar_files import read_curves
from .arguments import ToolParser


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Draw losses, learning rate and metrics of a training against the iteration, '
        'from the scalars.json of its work folder. What a resumed training did again is drawn '
        'once, as it was the last time.',
    )
    parser.add_argument('work_dir', type=Path, help='work folder of a training')
    parser.add_argument('--out', type=Path, help='PNG to write (curves.png in the work folder)')
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    out = args.out or args.work_dir / 'curves.png'
    if out.suffix.lower() != '.png':
        parser.error(f'--out {out}: a PNG is written, so its name ends in .png')
    try:
        curves = read_curves(args.work_dir)
        title = f'{args.work_dir}, to iteration {curves.last}'
        write_bytes(out, draw_curves(title, curves.losses, curves.rates, curves.metrics))
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(out)
