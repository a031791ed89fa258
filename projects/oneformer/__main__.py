"""``python -m oneformer`` is ``oneformer``, as launchers of several processes start it."""

import sys

from oneformer_cli import main

if __name__ == '__main__':
    sys.exit(main())
