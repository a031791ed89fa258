"""Masks that have a colour for each class, as CamVid's, with a table of the colours."""

from argparse import ArgumentParser
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from .class_tables import ClassTable
from .label_maps import Runs, read_class_map
from .map_source import MapSource
from .table_files import read_class_table

_TABLES = ('label_colors.txt', 'labelmap.txt', 'class_dict.csv', 'colors.json', 'colors.csv')
_TABLES += ('colors.txt', 'classes.json', 'classes.csv', 'class_names_colors.txt')


class ColorMaskSource(MapSource):
    """Folders of images and of masks in colour; see ``docs/label_formats.md``."""

    title: ClassVar[str] = 'masks with a colour for each class, and a table of the colours'

    @classmethod
    @override
    def add_options(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            '--colors',
            type=Path,
            metavar='FILE',
            help='table of colours, .txt, .csv or .json (default: label_colors.txt and the like)',
        )
        parser.add_argument('--images', type=Path, help='folder of the images, if not found')
        parser.add_argument('--masks', type=Path, help='folder of the masks, if not found')
        parser.add_argument(
            '--mask-suffix',
            metavar='TEXT',
            help="what masks' names have after those of images, such as _L (default: found out)",
        )
        cls.add_void(parser)

    @override
    def read_table(self) -> ClassTable:
        path = self.options.get('colors')
        if path is None:
            there = [name for name in _TABLES if (self.path / name).is_file()]
            if len(there) != 1:
                what = f'has several tables of colours, {there}' if there else (
                    f'has no table of colours ({", ".join(_TABLES)})'
                )  # fmt: skip
                raise ValueError(f'{self.path} {what}: say which with --colors FILE')
            path = self.path / there[0]
        table = read_class_table(path, self.options.get('void') or ())
        if not table.by_color:
            raise ValueError(
                f'table of colours {path} has no colours: write one line a class, such as '
                '"128 0 0 car"'
            )
        return table

    @override
    def read_map(self, mask: Path) -> Runs:
        return read_class_map(mask, 'mask', self.table)
