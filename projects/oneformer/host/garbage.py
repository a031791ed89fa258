"""Python's collector of garbage, which looks at all objects again as their number grows."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def nothing_collected() -> Iterator[None]:
    """Let the collector rest, for work whose objects stay; those without cycles go as always."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
