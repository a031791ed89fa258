"""Build a page that predicts in the browser: ``oneformer page FOLDER --out DIR``."""

from collections.abc import Sequence

from oneformer_runtime.page.command import DESCRIPTION, add_arguments, run

from .arguments import ToolParser


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(prog=prog, description=DESCRIPTION)
    add_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    return run(make_parser(prog).parse_args(argv))
