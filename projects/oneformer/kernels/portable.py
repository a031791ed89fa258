"""One switch for models that are traced for other runtimes: plain operators, images of any size.

What is fast in torch may be unknown elsewhere (own functions with a gradient of their own), or is
traced for one size alone (chunks, windows by their kind, tensors of sizes). Under ``portable()`` it
is computed by operators that every runtime has, with the same results up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_portable: ContextVar[bool] = ContextVar('portable', default=False)


def is_portable() -> bool:
    """Whether operators have to be portable now."""
    return _portable.get()


@contextmanager
def portable() -> Iterator[None]:
    """Compute by portable operators, for prediction only."""
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)
