"""The common part of formats whose labels are masks with a number or a colour per pixel."""

from abc import abstractmethod
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from .annotated import AnnotatedImage, AnnotationSource, Category, Region, SourceImage
from .class_tables import ClassTable
from .collecting import Collected
from .label_maps import Runs, frame_of_mask, upright
from .mask_pairs import MaskPair, common_folder, find_pairs
from .reading import some


class MapSource(AnnotationSource):
    """Images with a mask each, and a table of the classes in the masks."""

    kinds: ClassVar[tuple[str, ...]] = ('semantic', 'panoptic')

    def __init__(self, path: Path, **options) -> None:
        super().__init__(path, **options)
        self.table: ClassTable | None = None

    @classmethod
    def add_void(cls, parser: ArgumentParser) -> None:
        """Add ``--void``."""
        parser.add_argument(
            '--void',
            nargs='+',
            default=(),
            metavar='CLASS',
            help='classes that count as not annotated, as void and unlabeled always do',
        )

    @property
    @override
    def categories(self) -> Sequence[Category]:
        table = self.table
        return [Category(name, None, table.color_of(name)) for name in table.names] if table else []

    @abstractmethod
    def read_table(self) -> ClassTable:
        """The table of classes.

        Raises:
            OSError: If it cannot be read.
            ValueError: If it is broken, or missing.
        """

    def find_pairs(self) -> list[MaskPair]:
        """Images with their masks; problems go to ``self._found``."""
        folders = map(self.options.get, ('images', 'masks', 'mask_suffix'))
        return find_pairs(self.path, *folders, self._found)

    @override
    def find(self) -> tuple[list[SourceImage], list[str]]:
        self._found = found = Collected()
        try:
            self.table = self.read_table()
        except (OSError, ValueError) as error:
            self.table = None
            found.error('table of classes', str(error))
        if self.table and self.table.void_names:
            names = some(map(repr, self.table.void_names))
            found.note(f'pixels of {names} count as not annotated')
        pairs = self.find_pairs()
        if not pairs:
            return [], found.problems()
        self._folder = common_folder([pair.image for pair in pairs])
        images = [pair.source_image(self._folder, *self._files_of(pair.mask)) for pair in pairs]
        return sorted(images, key=lambda image: image.name), found.problems()

    def _files_of(self, mask: Path) -> list[Path]:
        """Other files that say what a mask means: if one changes, the mask is read again."""
        return [self.table.file] if self.table and isinstance(self.table.file, Path) else []

    @override
    def read(self, image: SourceImage) -> AnnotatedImage:
        mask = image.annotation[0]
        runs = self.read_map(mask)
        frame, losses = frame_of_mask(image.path, mask, runs.shape)
        if frame.turns > 1:
            runs = Runs.of(upright(runs.numbers(runs.values), frame))
        return AnnotatedImage(frame.height, frame.width, self.areas(runs), losses=losses)

    @abstractmethod
    def read_map(self, mask: Path) -> Runs:
        """Read a mask as positions in the names of the table."""

    def areas(self, runs: Runs) -> list[Region]:
        """The areas of all classes; one of things is a crowd of objects."""
        names = self.table.names
        return [
            Region(names[label], code=code, crowd=True, where=f'area of {names[label]}')
            for label, code in runs.codes().items()
        ]
