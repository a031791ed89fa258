"""The size of the largest image that is read: absurd ones are refused before they are decoded."""

import os

LIMIT = 'ONEFORMER_MAX_PIXELS'  # environment variable
_DEFAULT = 1 << 28  # 16384 x 16384; decoded that is 0.8 GB


class ImageTooLargeError(ValueError):
    """An image, or the size that a file states, has more pixels than are read."""


def max_pixels() -> int:
    """Pixels of the largest image that is read.

    Raises:
        ValueError: If the environment variable ``ONEFORMER_MAX_PIXELS`` is not a number from 1.
    """
    text = os.environ.get(LIMIT, str(_DEFAULT))
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f'{LIMIT} is {text!r}: it has to be a whole number of pixels from 1')
    return int(text)


def check_pixels(height: int, width: int, what: str) -> None:
    """Raise ``ImageTooLargeError`` if ``what`` has a size in pixels above the limit."""
    limit = max_pixels()
    if height * width > limit:
        raise ImageTooLargeError(
            f'{what} says that it has {width} x {height} pixels, more than the {limit} that are '
            f'read: replace it, or if it is right set the environment variable {LIMIT} to more'
        )
