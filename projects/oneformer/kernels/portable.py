"""One switch for models that are traced for other runtimes: plain operators, images of any size.

What is fast in torch may be unknown elsewhere (own functions with a gradient of their own), or is
traced for one size alone (chunks, windows by their kind, tensors of sizes). Under ``portable()`` it
is computed by operators that every runtime has, with the same results up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_is_portable = False  # of the process; torch.compile looks at it as a constant


def is_portable() -> bool:
    """Whether operators have to be portable now."""
    return _is_portable


@contextmanager
def portable() -> Iterator[None]:
    """Compute by portable operators, for prediction only, in all threads."""
    global _is_portable
    before, _is_portable = _is_portable, True
    try:
        yield
    finally:
        _is_portable = before
