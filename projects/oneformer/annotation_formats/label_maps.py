"""Masks that hold a number or a colour per pixel, read as the regions of classes.

A map is handled by its runs, down the columns as COCO's codes go: there are far fewer than pixels.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils

from ..images.image_files import open_image, read_file
from ..images.label_files import LabelImage, load_label
from ..images.lossy_formats import refuse_lossy
from ..images.orientation import turn
from ..images.reading import decode_file
from ..images.rules import LABELS
from .annotated import Loss
from .class_tables import ClassTable
from .color_texts import Color, nearest
from .frames import Frame, frame_of

VOID = -1
_SHOWN = 5  # colours in a message
_MANY = 16  # unknown colours, from which on edges are taken as smooth


@dataclass(frozen=True)
class Runs:
    """A map of numbers, as stretches of equal ones down its columns.

    Attributes:
        values: Number of each stretch.
        lengths: Pixels of each stretch.
        shape: (height, width) of the map.
    """

    values: np.ndarray
    lengths: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, numbers: np.ndarray) -> 'Runs':
        """The runs of a map (H, W)."""
        flat = numbers.ravel('F')
        starts = np.flatnonzero(np.diff(flat, prepend=flat[0] + 1))
        return cls(flat[starts], np.diff(starts, append=flat.size), numbers.shape)

    def counts(self) -> dict[int, int]:
        """Pixels of each number."""
        found, where = np.unique(self.values, return_inverse=True)
        return dict(zip(found.tolist(), np.bincount(where, self.lengths).astype(int).tolist()))

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """The map (H, W) with other numbers for the stretches."""
        return values.repeat(self.lengths).reshape(self.shape, order='F')

    def codes(self) -> dict[int, dict]:
        """Compressed run-length code of each number that is not ``VOID``."""
        ends = np.cumsum(self.lengths)
        order = np.argsort(self.values, kind='stable')
        found, first = np.unique(self.values[order], return_index=True)
        codes = {}
        for value, own in zip(found.tolist(), np.split(order, first[1:])):
            if value != VOID:
                codes[value] = self._code(ends[own] - self.lengths[own], ends[own], int(ends[-1]))
        return codes

    def _code(self, starts: np.ndarray, ends: np.ndarray, total: int) -> dict:
        edges = np.stack([starts, ends], 1).ravel()
        counts = np.diff(edges, prepend=0, append=total)
        plain = dict(size=list(self.shape), counts=counts.tolist())
        return mask_utils.frPyObjects(plain, *self.shape)


def header_mode(data: bytes, name: str) -> str:
    """Pillow's mode of an image; ValueError names a file that is not an image."""
    try:
        with open_image(io.BytesIO(data), name) as header:
            return header.mode
    except ValueError:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise ValueError(f'{name} is damaged, or not an image ({error}): replace it') from error


def read_colors(path: Path, what: str) -> np.ndarray:
    """R + 256 G + 65536 B of each pixel of a mask in colour, int32 of shape (H, W).

    Raises:
        OSError: If the file is missing or cannot be read.
        ValueError: If it is damaged, compressed with loss, transparent, or of more than 8 bits.
    """
    data = read_file(str(path), what)
    refuse_lossy(data, str(path), what)
    loaded = decode_file(data, str(path), what, LABELS)
    if loaded.values is not None:
        raise ValueError(f'{what} {path} has colours of {loaded.dtype}, not of 8 bits: export anew')
    if loaded.transparent:
        raise ValueError(
            f'{what} {path} has transparent pixels ({loaded.transparent:.2%}), whose class is not '
            'clear: export it without an alpha channel'
        )
    return loaded.pixels[..., ::-1].astype(np.int32) @ np.array([1, 256, 65536], np.int32)


def read_numbers(path: Path, what: str) -> tuple[np.ndarray, bool]:
    """Numbers of a mask, int32 (H, W), and whether it is in colour, see ``read_colors``."""
    if header_mode(read_file(str(path), what), f'{what} {path}') in ('RGB', 'RGBA'):
        return read_colors(path, what), True
    return load_label(str(path), what).values.astype(np.int32), False


def split_code(code: int) -> Color:
    """The (R, G, B) of a number of ``read_colors``."""
    return code & 255, code >> 8 & 255, code >> 16


def color_code(color: Color) -> int:
    """R + 256 G + 65536 B of a colour."""
    return color[0] + 256 * color[1] + 65536 * color[2]


def _describe_unknown(unknown: Mapping[int, int], table: ClassTable) -> str:
    """Which colours a table does not list, with the nearest that it does, and what to do."""
    listed = list(table.by_color)
    texts = []
    for code, count in sorted(unknown.items(), key=lambda item: -item[1])[:_SHOWN]:
        color = split_code(code)
        close = nearest(color, listed)
        name = table.by_color[close] or 'void'
        texts.append(f'{color} in {count} pixels (nearest: {name!r} {close})')
    more = f' and {len(unknown) - _SHOWN} other colours' if len(unknown) > _SHOWN else ''
    text = f'{", ".join(texts)}{more}, which {table.file} does not list'
    if len(unknown) >= _MANY:
        return (
            f'{text}. So many are mixtures at smooth edges, or were changed by a format with loss: '
            'export the mask anew without anti-aliasing, as PNG'
        )
    return f'{text}: add them there, with the name void if they are not annotated'


def _of_colors(codes: np.ndarray, table: ClassTable, extra: Mapping, name: str) -> Runs:
    """Positions of classes in ``table.names``, of a map of colours."""
    meaning = {color_code(color): name for color, name in (extra | table.by_color).items()}
    return _translated(Runs.of(codes), meaning, table, _describe_unknown, name)


def _of_values(values: np.ndarray, table: ClassTable, extra: Mapping, name: str) -> Runs:
    """Positions of classes in ``table.names``, of a map of numbers."""
    runs, meaning = Runs.of(values.astype(np.int32)), extra | table.by_value
    return _translated(runs, meaning, table, _describe_numbers, name)


def _describe_numbers(unknown: Mapping[int, int], table: ClassTable) -> str:
    """Which numbers a table does not list, and what to do."""
    listed = ', '.join(f'{value} in {count} pixels' for value, count in unknown.items())
    return (
        f'the numbers {listed}, which {table.file} does not list (it has {len(table.by_value)} '
        f'from {min(table.by_value)} to {max(table.by_value)}): add them there, or correct the '
        'mask'
    )


def _translated(runs: Runs, meaning: Mapping, table: ClassTable, describe, name: str) -> Runs:
    position = {None: VOID, **{name: k for k, name in enumerate(table.names)}}
    found = runs.counts()
    unknown = {value: count for value, count in found.items() if value not in meaning}
    if unknown:
        raise ValueError(f'{name} has {describe(unknown, table)}')
    known = np.array(sorted(found))
    means = np.array([position[meaning[value]] for value in known.tolist()])
    return Runs(means[np.searchsorted(known, runs.values)], runs.lengths, runs.shape)


def _palette_colors(label: LabelImage) -> dict[int, Color]:
    """Colours of the numbers that an image with a palette uses."""
    used = np.unique(label.values).tolist()
    return {
        value: tuple(label.palette[3 * value : 3 * value + 3])
        for value in used
        if 3 * value + 3 <= len(label.palette)
    }


def read_class_map(
    path: Path,
    what: str,
    table: ClassTable,
    void_values: Mapping[int, str | None] | None = None,
    void_colors: Mapping[Color, str | None] | None = None,
) -> Runs:
    """Read a mask of classes: by colours where it has some and the table too, else by numbers.

    Args:
        path: The mask.
        what: Kind of file, such as "mask", for messages.
        table: Meaning of numbers and colours.
        void_values: Numbers that mean nothing unless the table has them.
        void_colors: Colours that mean nothing unless the table has them.

    Returns:
        Runs of positions in ``table.names``, ``VOID`` where nothing is annotated.

    Raises:
        OSError: If the mask is missing or cannot be read.
        ValueError: If it is broken, compressed with loss, or has what the table does not list.
    """
    name = f'{what} {path}'
    data = read_file(str(path), what)
    refuse_lossy(data, str(path), what)
    mode, colors = header_mode(data, name), {**(void_colors or {}), **table.by_color}
    if table.by_color and mode in ('RGB', 'RGBA'):
        return _of_colors(read_colors(path, what), table, void_colors or {}, name)
    label = load_label(str(path), what)
    if table.by_color and label.palette is not None:
        used = _palette_colors(label)
        if len(used) == len(np.unique(label.values)) and all(c in colors for c in used.values()):
            lookup = np.zeros(max(used) + 1, np.int32)
            lookup[list(used)] = [color_code(color) for color in used.values()]
            return _of_colors(lookup[label.values], table, void_colors or {}, name)
    return _of_values(label.values, table, void_values or {}, name)


def frame_of_mask(image: Path, mask: Path, shape: tuple[int, int]) -> tuple[Frame, list[Loss]]:
    """Frame of an image and of a mask of (height, width) ``shape``, and notes on it.

    Raises:
        OSError: If the image is missing.
        ValueError: If the image is broken, or the sizes differ.
    """
    frame = frame_of(image, shape, f'mask {mask}')
    if frame.turns == 1:
        return frame, []
    text = (
        f'mask {mask} was drawn on the pixels as stored; image {image} has EXIF orientation '
        f'{frame.turns}, and it is turned by it, as viewers turn the image'
    )
    return frame, [Loss('labels turned upright', text)]


def upright(numbers: np.ndarray, frame: Frame) -> np.ndarray:
    """A map (H, W) of numbers in the frame of the image."""
    return turn(np.ascontiguousarray(numbers, np.int32), frame.turns)
