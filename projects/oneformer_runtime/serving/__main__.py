"""Serve an exported model without torch: ``python -m oneformer_runtime.serving FOLDER``."""

import argparse
import sys
from collections.abc import Sequence

from . import check_installed
from .arguments import add_arguments, add_engine_arguments, load_exported, settings_of


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command."""
    parser = argparse.ArgumentParser(
        prog='python -m oneformer_runtime.serving', description='Serve an exported model.'
    )
    parser.add_argument('folder', metavar='FOLDER', help='folder of an exported model')
    add_engine_arguments(parser)
    add_arguments(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    args = make_parser().parse_args(argv)
    try:
        check_installed()
        from .server import log_to_stderr, serve

        log_to_stderr()
        serve(lambda: load_exported(args.folder, args), settings_of(args))
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:  # while the model is loaded
        sys.exit(130)


if __name__ == '__main__':
    main()
