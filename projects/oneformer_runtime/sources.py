"""What people hand in: paths and arrays, read by the same rules."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from .arrays import check_array
from .loaded import LoadedImage, to_loaded
from .reading import load_image
from .rules import ImageRules

Input: TypeAlias = np.ndarray | str | os.PathLike
_KINDS = 'a path of an image, an array of BGR, or a list of these'


@dataclass(frozen=True)
class Source:
    """An image that has not been read yet.

    Attributes:
        name: File name, or the position of an array.
        path: Path of the file, None for an array.
        array: The array, None for a file.
    """

    name: str
    path: str | None = None
    array: np.ndarray | None = None

    def load(self, rules: ImageRules) -> LoadedImage:
        """Read the image."""
        if self.array is not None:
            return to_loaded(self.array, f'image {self.name}', rules)
        return load_image(self.path or '', rules)


def list_sources(inputs: Input | Sequence[Input], rules: ImageRules) -> list[Source]:
    """List the inputs; nothing is read yet, but arrays are checked.

    Args:
        inputs: A path, an array, or a list of these.
        rules: Rules by which images will be read.

    Raises:
        ValueError: For whatever is none of these, and an array that is not an image.
    """
    if isinstance(inputs, np.ndarray | str | os.PathLike):
        inputs = [inputs]
    if not isinstance(inputs, list | tuple):
        raise ValueError(f'{_named(inputs)} is not an image: give {_KINDS}')
    sources = []
    for position, given in enumerate(inputs):
        if isinstance(given, np.ndarray):
            check_array(given, rules)
            sources.append(Source(f'array_{position:06d}', array=given))
        elif isinstance(given, str | os.PathLike) and os.fspath(given):
            sources.append(Source(Path(given).name, str(Path(given))))
        else:
            raise ValueError(f'{_named(given)} is not an image: give {_KINDS}')
    if not sources:
        raise ValueError(f'no input: give {_KINDS}')
    return sources


def _named(given: Any) -> str:
    kind = type(given)
    if kind.__module__.startswith('PIL.'):
        return 'an image of Pillow (its path is, or np.asarray(image.convert("RGB"))[..., ::-1])'
    return f'input {given!r}' if isinstance(given, str | bytes) else f'a {kind.__name__}'
