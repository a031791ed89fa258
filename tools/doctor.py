"""``oneformer doctor``, from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

import oneformer_cli  # noqa: E402


def main() -> int | None:
    """Run the command, which begins without the package's own import."""
    return oneformer_cli.main(['doctor', *sys.argv[1:]])


if __name__ == '__main__':
    sys.exit(main())
