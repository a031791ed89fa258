"""Imports of the stack without printed lines that a user cannot act on."""

import contextlib
import io
import warnings
from collections.abc import Iterator

# debug lines that mmdet and mmseg print
_NOISE = ('Could not import OneDL',)


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Drop those lines, and the warning about a package that OneFormer does not use."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='faster_coco_eval is not installed')
            yield
    finally:
        for line in printed.getvalue().splitlines():
            if not line.startswith(_NOISE):
                print(line)
