"""Imports of the stack without printed lines that a user cannot act on."""

import contextlib
import io
import warnings
from collections.abc import Iterator

# debug lines that mmdet and mmseg print
_NOISE = ('Could not import OneDL',)
_UNUSED = ('faster_coco_eval is not installed',)  # packages that OneFormer does not need


def _is_noise(warning: warnings.WarningMessage) -> bool:
    # the stack is not ours to change; some of it overrules filters of warnings
    is_old = issubclass(warning.category, DeprecationWarning | FutureWarning)
    return is_old or str(warning.message).startswith(_UNUSED)


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Drop those lines, and warnings of what the stack itself uses or lacks; show all others."""
    printed, warned = io.StringIO(), []
    try:
        with (
            contextlib.redirect_stdout(printed),
            warnings.catch_warnings(record=True) as warned,
        ):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            if not line.startswith(_NOISE):
                print(line)
        for warning in warned:
            if not _is_noise(warning):
                warnings.showwarning(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
