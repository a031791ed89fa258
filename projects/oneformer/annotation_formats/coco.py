"""Instances in COCO's format: polygons and run-length codes, in one JSON or several."""

import os
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from .annotated import AnnotatedImage, AnnotationSource, Category, SourceImage
from .coco_drawing import draw, smaller_above
from .coco_entries import LVIS_KEYS, CocoImage, category_names, mask_codes, read_entries
from .coco_json import CocoJson, open_jsons
from .collecting import Collected
from .drawing import Drawing
from .label_pngs import LabelPngs
from .options import add_boxes
from .reading import some, spelling_problems
from .table_files import read_class_table

_OWN_KEYS = {'id', 'image_id', 'category_id', 'segmentation', 'area', 'bbox', 'iscrowd'}
_OWN_KEYS |= {'category', 'file'}


class CocoSource(AnnotationSource):
    """JSONs in COCO instance format, with their images; see ``docs/label_formats.md``."""

    title: ClassVar[str] = (
        'COCO instance JSON, one or several, also of Roboflow and CVAT; a JSON or a folder'
    )
    _looked_for: ClassVar[bool] = False  # whether images have to say which classes were

    def __init__(self, path: Path, **options) -> None:
        super().__init__(path, **options)
        self._pngs: LabelPngs | None = None

    @classmethod
    @override
    def add_options(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            '--ann-files',
            nargs='+',
            metavar='JSON',
            help='JSONs to convert, by their paths below the source (default: all below it)',
        )
        parser.add_argument('--images', type=Path, help='folder of the images, if not found')
        parser.add_argument(
            '--crowds',
            choices=('crowds', 'objects'),
            help='what iscrowd=1 means; has to be said where every mask has it, as in exports of '
            'CVAT, whose brush masks are objects',
        )
        add_boxes(parser)
        parser.add_argument(
            '--label-pngs',
            type=Path,
            metavar='FOLDER',
            help='label PNGs of the same images: what they have below and beside the objects is '
            'added (with --to panoptic)',
        )
        parser.add_argument(
            '--label-classes',
            type=Path,
            metavar='FILE',
            help='classes of the label PNGs, by number or colour (.txt, .csv, .json)',
        )
        parser.add_argument(
            '--label-suffix',
            metavar='TEXT',
            help="what label PNGs' names have after those of images (default: found out)",
        )

    @override
    def find(self) -> tuple[list[SourceImage], list[str]]:
        self._found = found = Collected()
        jsons = open_jsons(
            self.path, self.options.get('ann_files'), self.options.get('images'), found
        )
        self._check_crowds(jsons)
        records, splits = self._join(jsons)
        if self._looked_for and records and all(r.searched is None for r in records.values()):
            found.error(
                'not LVIS',
                f'{jsons[0].path}: no image has {" or ".join(LVIS_KEYS)}, by which LVIS says what '
                'was looked for: convert it as coco',
            )
        if not records:
            if jsons and not found.problems():
                found.error('no images', f'{jsons[0].path} lists no image: give another JSON')
            return [], found.problems()
        self._folder = Path(os.path.commonpath({json.folder for json in jsons}))
        images = [
            SourceImage(path.relative_to(self._folder).as_posix(), path, splits[path], (record,))
            for path, record in sorted(records.items())
        ]
        return self._with_pngs(images), found.problems()

    def _with_pngs(self, images: list[SourceImage]) -> list[SourceImage]:
        """The images with their label PNGs, if there are any."""
        folder, table = self.options.get('label_pngs'), self.options.get('label_classes')
        self._pngs = None
        if folder is None and table is None:
            return images
        if folder is None or table is None:
            self._found.error('options', 'give both --label-pngs and --label-classes, or neither')
            return images
        things = [category.name for category in self._categories if category.is_thing is not False]
        try:
            self._pngs = LabelPngs(folder, read_class_table(table), things)
        except (OSError, ValueError) as error:
            self._found.error('label PNGs', str(error))
            return images
        known = [category.name for category in self._categories]
        for problem in spelling_problems([*known, *self._pngs.table.names], table):
            self._found.error('class names', problem)
        colors = {name: self._pngs.table.color_of(name) for name in self._pngs.table.names}
        self._categories = [
            Category(c.name, c.name in things, colors.get(c.name)) for c in self._categories
        ] + [Category(n, False, colors[n]) for n in self._pngs.stuff if n not in known]
        pngs = self._pngs.find(images, self.options.get('label_suffix'), self._found)
        return [
            replace(image, annotation=(*image.annotation, pngs[image.name], table))
            for image in images
            if image.name in pngs
        ]

    def _check_crowds(self, jsons: Sequence[CocoJson]) -> None:
        files, count = mask_codes(jsons)
        if count and self.options.get('crowds') is None:
            self._found.error(
                'crowds',
                f'{some(files)}: every mask in run-length code ({count}) has iscrowd=1, as CVAT '
                'writes it for each object of its brush: say --crowds objects if these are '
                'objects, --crowds crowds if they are groups that were not told apart',
            )

    def _join(
        self, jsons: Sequence[CocoJson]
    ) -> tuple[dict[Path, CocoImage], dict[Path, str | None]]:
        """What all JSONs say of each image, by its path, and the part that it belongs to."""
        found = self._found
        records: dict[Path, CocoImage] = {}
        splits: dict[Path, str | None] = {}
        kinds: dict[str, bool | None] = {}
        known: dict[Path, set[str]] = {}
        boxes = 0
        for json in jsons:
            names = category_names(json, found)
            for name, is_thing in names.values():
                kinds[name] = is_thing if kinds.get(name) is None else kinds[name]
            own = {name for name, _ in names.values()}
            entries, left = read_entries(json, names, self.options.get('boxes'), found)
            boxes += left
            for name, record in entries.items():
                path = json.folder / name
                known.setdefault(path, set()).update(own)
                if path in records:
                    self._add(records[path], record, path)
                    splits[path] = self._same_split(splits[path], json, path, records[path].file)
                else:
                    records[path], splits[path] = record, json.split
        if boxes:
            found.note(f'{boxes} annotations are only boxes and are left out, by --boxes')
        for problem in spelling_problems(kinds, self.path):
            found.error('class names', problem)
        self._categories = [Category(name, is_thing) for name, is_thing in kinds.items()]
        self._note_partial(records, known, set(kinds))
        return records, splits

    def _add(self, before: CocoImage, record: CocoImage, path: Path) -> None:
        """Add what a second JSON says of an image."""
        if before.size != record.size:
            self._found.error(
                'sizes differ',
                f'{record.file} says (height, width) {record.size} of {path}, {before.file} '
                f'{before.size}: correct one of them',
            )
        there = [_content(entry) for entry in before.objects]
        same = [entry for entry in record.objects if _content(entry) in there]
        if same:
            self._found.error(
                'annotated twice',
                f'{record.file}: annotation {same[0].get("id")!r} of {path} is in {before.file}, '
                'too: give the JSONs that you mean with --ann-files',
                record.file,
            )
        before.objects += record.objects
        if before.searched is not None or record.searched is not None:
            before.searched = (before.searched or set()) | (record.searched or set())
        before.incomplete |= record.incomplete

    def _same_split(self, split: str | None, json: CocoJson, path: Path, before: str):
        """The part of an image that two JSONs list."""
        if None not in (split, json.split) and split != json.split:
            self._found.error(
                'image of two parts',
                f'{path} is listed for {split} by {before} and for {json.split} by {json.path}: '
                'an image of both is scored on what was learned; take it out of one',
                json.path,
            )
        return split or json.split

    def _note_partial(
        self, records: Mapping[Path, CocoImage], known: Mapping[Path, set], names: set[str]
    ) -> None:
        """Classes that the JSONs of an image do not list were not looked for in it."""
        partial = [path for path in records if known[path] != names]
        for path in partial:
            record = records[path]
            if record.searched is None:
                record.searched = known[path]
        if partial:
            path = partial[0]
            self._found.note(
                f'{len(partial)} images are annotated by JSONs that do not list all '
                f'{len(names)} classes, such as {path} ({some(sorted(names - known[path]))} not '
                'listed): the others count as not annotated there'
            )

    @override
    def read(self, image: SourceImage) -> AnnotatedImage:
        drawing = self._drawn(image)
        if self._pngs is not None:
            objects = drawing.regions
            areas, losses = self._pngs.regions(image, drawing.frame, objects)
            drawing.regions = [*areas, *objects]
            drawing.losses += losses
        return drawing.done(**self._looked(image))

    def _looked(self, image: SourceImage) -> dict:
        """Which classes were looked for in an image, in the order of all."""
        record = image.annotation[0]
        order = [category.name for category in self._categories]
        searched = record.searched
        if searched is not None and self._pngs is not None:
            searched = searched | set(self._pngs.table.names)
        return dict(
            searched=None if searched is None else [name for name in order if name in searched],
            incomplete=[name for name in order if name in record.incomplete],
        )

    def _drawn(self, image: SourceImage) -> Drawing:
        """The objects of an image, the smaller ones above."""
        record: CocoImage = image.annotation[0]
        drawing = Drawing(image.path, record.file, record.size)
        for annotation in record.objects:
            drawing.file = annotation['file']
            where = f'annotation {annotation.get("id", "without id")} of {image.name}'
            crowd = annotation.get('iscrowd') == 1 and self.options.get('crowds') != 'objects'
            extra = {key: value for key, value in annotation.items() if key not in _OWN_KEYS}
            draw(drawing, annotation, where, record.size, crowd=crowd, extra=extra)
        drawing.regions = smaller_above(drawing.regions, drawing.frame.height, drawing.frame.width)
        return drawing


def _content(annotation: Mapping) -> tuple:
    return annotation['category'], annotation.get('segmentation'), annotation.get('bbox')
