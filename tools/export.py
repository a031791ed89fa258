"""``oneformer export``, from a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from oneformer_cli import command  # noqa: E402

main = command('export')

if __name__ == '__main__':
    sys.exit(main())
