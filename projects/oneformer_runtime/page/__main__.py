"""``python -m oneformer_runtime.page``: ``oneformer page`` where only the runtime is installed."""

import argparse
import sys

from .command import DESCRIPTION, add_arguments, run


def main() -> int:
    """Build a page by the arguments of the process."""
    parser = argparse.ArgumentParser('python -m oneformer_runtime.page', description=DESCRIPTION)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == '__main__':
    sys.exit(main())
