"""Hugging Face's folders of image segmentation: images, label maps, ``id2label.json``."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from .annotated import AnnotatedImage, Category, Loss, Region, SourceImage
from .class_tables import ClassEntry, ClassTable
from .hf_rows import METADATA, Row, read_rows
from .label_maps import Runs, frame_of_mask, read_class_map, read_numbers, upright
from .map_source import MapSource
from .mask_pairs import MaskPair
from .reading import some, whole
from .split_names import split_of_path
from .table_files import read_class_table

_TABLE = 'id2label.json'
_VOID = 255


class HuggingFaceSource(MapSource):
    """Label maps, or panoptic PNGs with ``segments_info``; see ``docs/label_formats.md``."""

    title: ClassVar[str] = 'Hugging Face image segmentation: images, label maps, id2label.json'
    kinds: ClassVar[tuple[str, ...]] = ('semantic', 'panoptic', 'instance')

    def __init__(self, path: Path, **options) -> None:
        super().__init__(path, **options)
        self._segments: dict[Path, list[dict]] = {}  # by mask
        self._things: dict[str, bool] = {}

    @classmethod
    @override
    def add_options(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            '--id2label',
            type=Path,
            metavar='JSON',
            help='names of the classes by their number (default: id2label.json in the folder)',
        )
        parser.add_argument(
            '--reduce-labels',
            action='store_true',
            help='0 in label maps is void, and k means class k - 1 (do_reduce_labels)',
        )
        parser.add_argument(
            '--mask-column',
            metavar='NAME',
            help='column of the masks in metadata.jsonl or metadata.csv, if not found',
        )
        parser.add_argument('--images', type=Path, help='folder of the images, without metadata')
        parser.add_argument('--masks', type=Path, help='folder of the masks, without metadata')
        parser.add_argument(
            '--mask-suffix',
            metavar='TEXT',
            help="what masks' names have after those of images, without metadata",
        )
        cls.add_void(parser)

    @property
    @override
    def categories(self) -> Sequence[Category]:
        return [Category(c.name, self._things.get(c.name), c.color) for c in super().categories]

    @override
    def read_table(self) -> ClassTable:
        path = self.options.get('id2label')
        if path is None:
            there = sorted(self.path.glob(f'**/{_TABLE}'))
            if len(there) != 1:
                what = f'has several, {some(there)}' if there else f'has no {_TABLE}'
                raise ValueError(f'{self.path} {what}: say which by --id2label FILE')
            path = there[0]
        void = self.options.get('void') or ()
        table = read_class_table(path, void)
        if not self.options.get('reduce_labels'):
            return table
        entries = [ClassEntry(None, 0)]
        numbers = [k if e.value is None else e.value for k, e in enumerate(table.entries)]
        entries += [ClassEntry(e.name, n + 1) for e, n in zip(table.entries, numbers)]
        return ClassTable(path, entries, void)

    @override
    def find(self) -> tuple[list[SourceImage], list[str]]:
        self._segments, self._things = {}, {}
        if not self.path.is_dir():
            return [], [f'{self.path} is not a folder: give that of images and metadata']
        images, problems = super().find()
        return [
            replace(one, annotation=(*one.annotation, self._segments.get(one.annotation[0])))
            for one in images
        ], problems

    @override
    def find_pairs(self) -> list[MaskPair]:
        files = sorted(path for name in METADATA for path in self.path.glob(f'**/{name}'))
        if not files:
            tables = sorted(self.path.glob('**/metadata.parquet'))
            if not tables:
                return super().find_pairs()
            text = f'{tables[0]} is not read: write it as metadata.jsonl'
            self._found.error('metadata', text)
            return []
        column = self.options.get('mask_column')
        return self._pairs_of([r for path in files for r in read_rows(path, column, self._found)])

    def _pairs_of(self, rows: Sequence[Row]) -> list[MaskPair]:
        """Images and masks of rows; what is missing is reported."""
        found, pairs, seen = self._found, [], {}
        lost = [str(path) for row in rows for path in (row.image, row.mask) if path is not None
                and not path.is_file()]  # fmt: skip
        if lost:
            found.error(
                'missing files',
                f'{len(lost)} files that rows name do not exist: {some(lost)}: put them there, or '
                'take the rows out',
            )
        without = [row.where for row in rows if row.mask is None]
        if without:
            found.note(f'{len(without)} rows have no mask and are left out: {some(without)}')
        if rows and len(without) == len(rows):
            found.error('no masks', f'{rows[0].where} names no mask: say which by --mask-column')
        panoptic = any(row.segments is not None for row in rows)
        for row in rows:
            if row.mask is None or str(row.image) in lost or str(row.mask) in lost:
                continue
            if row.image in seen:
                text = f'{row.where}: {row.image} is in {seen[row.image]}, too: remove one'
                found.error('image listed twice', text)
                continue
            seen[row.image] = row.where
            if panoptic:
                self._keep_segments(row)
            split = split_of_path(row.image.parent / 'x', self.path)
            pairs.append(MaskPair(row.image, row.mask, split))
        return pairs

    def _keep_segments(self, row: Row) -> None:
        """Check the segments of a row, and keep them by its mask."""
        if row.segments is None:
            self._found.error(
                'no segments',
                f'{row.where} has no segments_info, and other rows have: add it, empty where '
                'nothing is to be found',
            )
            return
        kept, numbers = [], set()
        try:
            for position, segment in enumerate(row.segments):
                where = f'{row.where}, segment {position}'
                kept.append(self._segment(segment, where))
                if kept[-1]['id'] in numbers:
                    raise ValueError(f'{where}: id {kept[-1]["id"]} is listed twice: correct it')
                numbers.add(kept[-1]['id'])
        except ValueError as error:
            self._found.error('wrong segment', str(error))
        self._segments[row.mask] = kept

    def _segment(self, segment: dict[str, Any], where: str) -> dict:
        """Number, class and crowd flag of a segment; ValueError names what is wrong."""
        number = whole(segment.get('id'), f'{where}: id', least=1)
        key = 'category_id' if 'category_id' in segment else 'label_id'
        category = whole(segment.get(key), f'{where}: category_id', least=0)
        classes = self.table.by_value if self.table else {category: None}
        if category not in classes:
            raise ValueError(
                f'{where}: {key} {category} is not in {self.table.file}, which has {len(classes)} '
                f'from {min(classes)} to {max(classes)}: add it, or correct the row'
            )
        name, thing = classes[category], segment.get('isthing')
        if name is not None and thing is not None:
            self._things.setdefault(name, bool(thing))
        return dict(id=number, name=name, crowd=bool(segment.get('iscrowd')))

    @override
    def read_map(self, mask: Path) -> Runs:
        try:
            return read_class_map(mask, 'label map', self.table, {_VOID: None})
        except ValueError as error:
            if self.options.get('reduce_labels') or 'has the numbers' not in str(error):
                raise
            text = f'{error}; where 0 is void and k means class k - 1, say --reduce-labels'
            raise ValueError(text) from error

    @override
    def read(self, image: SourceImage) -> AnnotatedImage:
        mask, segments = image.annotation[0], image.annotation[-1]
        if segments is None:
            return super().read(image)
        numbers, _ = read_numbers(mask, 'panoptic PNG')
        frame, losses = frame_of_mask(image.path, mask, numbers.shape)
        runs = Runs.of(upright(numbers, frame))
        counts, codes = runs.counts(), runs.codes()
        unknown = sorted(set(counts) - {0} - {segment['id'] for segment in segments})
        if unknown:
            text = ', '.join(f'{number} in {counts[number]} pixels' for number in unknown[:5])
            raise ValueError(
                f'panoptic PNG {mask} has the ids {text}, which segments_info does not list: add '
                'them, or paint these pixels 0 (the id is R + 256 G + 65536 B)'
            )
        regions = []
        for segment in segments:
            number, name = segment['id'], segment['name']
            where = f'segment {number}'
            if number not in codes:
                losses.append(Loss('segments without a pixel', f'{mask}: {where} has no pixel'))
            elif name is not None:
                code = codes[number]
                regions.append(Region(name, code=code, crowd=segment['crowd'], where=where))
        return AnnotatedImage(frame.height, frame.width, regions, losses=losses)
