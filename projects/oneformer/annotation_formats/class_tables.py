"""Tables that say which number or colour of a mask is which class."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..class_matching import normalise
from .color_texts import Color
from .reading import spelling_problems

VOID_NAMES = {'void', 'unlabeled', 'unlabelled', 'ignore', 'ignored', 'ignore label', 'unlabel'}


@dataclass(frozen=True)
class ClassEntry:
    """A line of a table.

    Attributes:
        name: Name of the class; None if these pixels are not annotated.
        value: Number in masks; None if the table has none.
        color: (R, G, B) in masks; None if the table has none.
    """

    name: str | None
    value: int | None = None
    color: Color | None = None


class ClassTable:
    """Classes by number and by colour.

    Args:
        file: The table, for messages.
        entries: Lines of the table. A class may have several. A line without a name, or with a
            name such as "void" or "unlabeled", stands for pixels that are not annotated.
        void: More names of such lines.

    Raises:
        ValueError: If a number or a colour has two classes, if names differ in case only, or if
            ``void`` has a name that the table has not.
    """

    def __init__(
        self, file: Path | str, entries: Sequence[ClassEntry], void: Collection[str] = ()
    ) -> None:
        self.file = file
        absent = sorted(set(void) - {entry.name for entry in entries})
        if absent:
            raise ValueError(f'{file} has no class {absent}, as --void says: correct the name')
        self.entries = list(entries)
        self._void = set(void)
        problems = spelling_problems(self.names, file)
        if problems:
            raise ValueError('; '.join(problems))

    def name_of(self, entry: ClassEntry) -> str | None:
        """Class of a line; None if its pixels are not annotated."""
        if entry.name is None or entry.name in self._void:
            return None
        return None if normalise(entry.name) in VOID_NAMES else entry.name

    @property
    def names(self) -> list[str]:
        """Classes in the order of the table."""
        return list(dict.fromkeys(filter(None, map(self.name_of, self.entries))))

    @property
    def void_names(self) -> list[str]:
        """Names of lines whose pixels are not annotated."""
        return [e.name for e in self.entries if e.name is not None and self.name_of(e) is None]

    @cached_property
    def by_color(self) -> dict[Color, str | None]:
        """Class of each colour; empty if the table has no colours."""
        return self._unique((e.color, self.name_of(e)) for e in self.entries if e.color is not None)

    @cached_property
    def by_value(self) -> dict[int, str | None]:
        """Class of each number: those of the table, else positions from 0."""
        if any(entry.value is not None for entry in self.entries):
            pairs = ((e.value, self.name_of(e)) for e in self.entries if e.value is not None)
            return self._unique(pairs)
        return dict(enumerate(map(self.name_of, self.entries)))

    def color_of(self, name: str) -> Color | None:
        """The first colour of a class."""
        colors = (e.color for e in self.entries if self.name_of(e) == name and e.color is not None)
        return next(colors, None)

    def _unique(self, pairs: Iterable[tuple]) -> dict:
        found = {}
        for key, name in pairs:
            if found.setdefault(key, name) != name:
                raise ValueError(
                    f'{self.file}: {key} is both {found[key] or "void"!r} and {name or "void"!r}: '
                    'remove one'
                )
        return found
