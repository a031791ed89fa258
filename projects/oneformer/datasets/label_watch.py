"""Watch the label images of a dataset for palettes that change, and for unusual encodings."""

from collections.abc import Mapping

import numpy as np

from ..images.label_files import LabelImage
from ..images.notes import SayOnce
from .findings import ERROR, WARNING, Finding
from .pixel_counts import count_values

_PALETTES = 1000  # palettes that a loader compares at most


def used_values(values: np.ndarray) -> dict[int, int]:
    """The values of an image of shape (H, W), uint8 or uint16, and how many pixels each has."""
    counts = count_values(values)
    used = np.flatnonzero(counts)
    return dict(zip(used.tolist(), counts[used].tolist()))


def used_colors(label: LabelImage, used: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    """The colour (R, G, B) in the palette of each value that occurs."""
    colors = label.palette or b''
    return {v: tuple(colors[3 * v : 3 * v + 3]) for v in used if 3 * v + 3 <= len(colors)}


class PaletteTable:
    """The colours that palettes of a dataset's label images give to values.

    Attributes:
        color_of: Colour (R, G, B) of each value, and the first file that says so.
        values_of: Values of each colour in the first file that has it, and that file.
    """

    def __init__(self) -> None:
        self.color_of: dict[int, tuple[tuple[int, ...], str]] = {}
        self.values_of: dict[tuple[int, ...], tuple[set[int], str]] = {}

    def add(self, colors: Mapping[int, tuple[int, ...]], path: str) -> Finding | None:
        """Compare the used colours of a file with those of the files before.

        Returns:
            An error if a colour has another value than before, since then values mean nothing by
            themselves; else a warning if a value has another colour.
        """
        moved = recoloured = None
        for value, color in colors.items():
            before, file = self.values_of.setdefault(color, (set(), path))
            if file == path:
                before.add(value)
            elif value not in before:
                moved = moved or (color, value, min(before), file)
            before, file = self.color_of.setdefault(value, (color, path))
            if before != color:
                recoloured = recoloured or (value, color, before, file)
        if moved:
            color, value, before, file = moved
            message = (
                f'label PNG {path} has the colour (R, G, B) {color} at value {value} of its '
                f'palette, and {file} has it at value {before}: each file has a palette of its '
                'own, so that a value means another class in each. Say label_colors={(R, G, B): '
                'name, ...} in the dataset, to go by colours, or export the labels with one '
                'palette for all'
            )
            return Finding('palettes differ', message, path, value, ERROR)
        if recoloured:
            value, color, before, file = recoloured
            message = (
                f'label PNG {path} has the colour (R, G, B) {color} at value {value} of its '
                f'palette, and {file} has {before}: values are read whatever their colours. If the '
                'colours are the classes, say label_colors={(R, G, B): name, ...} in the dataset'
            )
            return Finding('palettes differ', message, path, value, WARNING)
        return None


class LabelWatch:
    """Watches the label images that a loader reads, at the cost of comparing two palettes.

    It logs one note of each kind, whichever worker process of a data loader meets it first.

    Raises:
        ValueError: If the palette of a file contradicts that of an earlier one, on a call.
    """

    def __init__(self) -> None:
        self._palettes: set[bytes] = set()
        self._table = PaletteTable()
        self._say = SayOnce(('kind', 'palettes'))

    def __call__(self, label: LabelImage, results: Mapping) -> None:
        """Look at the label image of a sample."""
        path = results['seg_map_path']
        if label.note:
            self._say([('kind', f'label images such as {path} {label.note}')])
        if label.palette is None or len(self._palettes) > _PALETTES:
            return
        if label.palette not in self._palettes:
            self._palettes.add(label.palette)
            found = self._table.add(used_colors(label, used_values(label.values)), path)
            if found is not None and found.severity == ERROR:
                self._palettes.discard(label.palette)  # or the next of its kind would pass
                raise ValueError(found.message)
            if found is not None:
                self._say([('palettes', found.message)])
