"""Pascal VOC's masks: SegmentationClass, and SegmentationObject where objects are told apart."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from ..class_matching import normalise
from .annotated import AnnotatedImage, Category, Loss, Region, SourceImage
from .class_tables import ClassEntry, ClassTable
from .label_maps import VOID, Runs, frame_of_mask, read_class_map, upright
from .map_source import MapSource
from .mask_pairs import MaskPair, placed
from .reading import ImageFolder, ambiguous_image, some, without_suffix
from .table_files import read_class_table
from .voc_lists import read_split_lists
from .voc_objects import BORDER, BORDER_COLOR, labels_of, read_objects

VOC = (
    'background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair',
    'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa',
    'train', 'tvmonitor',
)  # fmt: skip
_CLASSES = ('SegmentationClassPNG', 'SegmentationClass')  # labelme has had numpy files in the other
_OBJECTS = ('SegmentationObjectPNG', 'SegmentationObject')
_TABLES = ('labelmap.txt', 'class_names.txt')
_DEPTH = 3


def voc_colors(count: int) -> list[tuple[int, int, int]]:
    """The first colours of VOC's palette: the bits of the number, dealt to R, G and B in turn."""
    colors = []
    for number in range(count):
        color = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                color[channel] |= (number >> 3 * bit + channel & 1) << 7 - bit
        colors.append(tuple(color))
    return colors


class VocSource(MapSource):
    """A folder with JPEGImages and SegmentationClass; see ``docs/label_formats.md``."""

    title: ClassVar[str] = 'Pascal VOC masks (SegmentationClass, SegmentationObject)'
    kinds: ClassVar[tuple[str, ...]] = ('semantic', 'panoptic', 'instance')

    def __init__(self, path: Path, **options) -> None:
        super().__init__(path, **options)
        self.root = path
        self.classes: Path | None = None
        self.objects: Path | None = None

    @classmethod
    @override
    def add_options(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            '--classes',
            metavar='FILE',
            help='names of the classes, one a line (default: labelmap.txt or class_names.txt); '
            "'voc' for those of Pascal VOC itself",
        )
        parser.add_argument('--images', type=Path, help='folder of the images, if not JPEGImages')
        cls.add_void(parser)

    @property
    @override
    def categories(self) -> Sequence[Category]:
        things = self.objects is not None and self.options.get('classes') == 'voc'
        return [
            Category(c.name, normalise(c.name) != 'background' and (things or None), c.color)
            for c in super().categories
        ]

    @override
    def find(self) -> tuple[list[SourceImage], list[str]]:
        roots = [] if not self.path.is_dir() else _roots(self.path)
        if len(roots) != 1:
            what = f'has several, in {some(roots)}: give one of them' if roots else (
                'has no folder SegmentationClass with masks: give the folder it is in'
            )  # fmt: skip
            return [], [f'{self.path} {what}']
        (self.root,) = roots
        self.classes = _first(self.root, _CLASSES)
        self.objects = _first(self.root, _OBJECTS)
        images, problems = super().find()
        if self.objects is None:
            self._found.note(
                f'{self.root} has no SegmentationObject, so that objects are not told apart: areas '
                'of things become crowds'
            )
        return images, problems

    @override
    def read_table(self) -> ClassTable:
        chosen, void = self.options.get('classes'), self.options.get('void') or ()
        if chosen == 'voc':
            entries = zip(VOC, voc_colors(len(VOC)))
            entries = [ClassEntry(name, k, color) for k, (name, color) in enumerate(entries)]
            return ClassTable('Pascal VOC', entries, void)
        path = Path(chosen) if chosen else _first(self.root, _TABLES)
        if path is None:
            raise ValueError(
                f'{self.root} has no labelmap.txt: name the classes by --classes FILE, one a line '
                "from number 0 on, or say --classes voc for Pascal VOC's own"
            )
        return _without_ignore(read_class_table(path, void), void)

    @override
    def find_pairs(self) -> list[MaskPair]:
        found = self._found
        named = self.options.get('images')
        folder = placed(self.root, named) if named else self.root / 'JPEGImages'
        try:
            images, masks = ImageFolder(folder), ImageFolder(self.classes)
        except ValueError as error:
            found.error('no images', f'{error}, or name it by --images')
            return []
        splits = read_split_lists(self.root / 'ImageSets/Segmentation', found)
        pairs, missing = [], []
        for name in masks.names:
            stem = without_suffix(name)
            candidates = images.of_stem(stem)
            if len(candidates) > 1:
                text = ambiguous_image(f'{self.classes / name}', candidates, folder)
                found.error('ambiguous names', text, folder)
            elif not candidates:
                missing.append(name)
            else:
                mask = self.classes / name
                pairs.append(MaskPair(folder / candidates[0], mask, splits.pop(stem, None)))
        if missing:
            found.error(
                'masks without image',
                f'{len(missing)} masks in {self.classes} have no image in {folder}: '
                f'{some(missing)}: add it, or remove the mask',
            )
        self._check_listed(splits, missing)
        self._check_objects(pairs)
        left = len(images.names) - len(pairs)
        if left and pairs:
            found.note(f'{left} of {len(images.names)} images have no mask and are left out')
        return pairs

    def _check_objects(self, pairs: Sequence[MaskPair]) -> None:
        """Report images without a mask of objects, if other images have one."""
        paths = [self._objects_of(pair.mask) for pair in pairs] if self.objects else []
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            self._found.error(
                'no mask of objects',
                f'{len(missing)} of {len(pairs)} masks of classes have no mask of objects in '
                f'{self.objects}: {some(missing)}: add it, or take the folder away to convert '
                'classes only',
            )

    def _check_listed(self, rest: dict[str, str | None], missing: Sequence[str]) -> None:
        """Listed names that have no mask: a fault, but for those of tests."""
        known = set(map(without_suffix, missing))
        tests = [name for name, split in rest.items() if split == 'test']
        lost = [name for name, split in rest.items() if split != 'test' and name not in known]
        if tests:
            self._found.note(f'{len(tests)} images of the list of tests have no mask')
        if lost:
            self._found.error(
                'listed without mask',
                f'{self.root / "ImageSets/Segmentation"}: {len(lost)} listed names have no mask in '
                f'{self.classes}: {some(lost)}: add it, or take the name out of the lists',
            )

    @override
    def read_map(self, mask: Path) -> Runs:
        border = {BORDER: None}
        return read_class_map(mask, 'mask', self.table, border, {BORDER_COLOR: None})

    def _files_of(self, mask: Path) -> list[Path]:
        objects = [] if self.objects is None else [self._objects_of(mask)]
        return super()._files_of(mask) + objects

    def _objects_of(self, mask: Path) -> Path:
        return self.objects / mask.relative_to(self.classes)

    @override
    def read(self, image: SourceImage) -> AnnotatedImage:
        mask = image.annotation[0]
        if self.objects is None:
            return super().read(image)
        path = self._objects_of(mask)
        runs = self.read_map(mask)
        classes, objects = runs.numbers(runs.values), read_objects(path)
        if objects.shape != classes.shape:
            raise ValueError(
                f'mask {path} has (height, width) {objects.shape}, and {mask} {classes.shape}: '
                'export both anew'
            )
        frame, losses = frame_of_mask(image.path, mask, classes.shape)
        if frame.turns > 1:
            classes, objects = upright(classes, frame), upright(objects, frame)
        regions, told = self._regions(classes, objects, path)
        return AnnotatedImage(frame.height, frame.width, regions, losses=[*losses, *told])

    def _regions(
        self, classes: np.ndarray, objects: np.ndarray, path: Path
    ) -> tuple[list[Region], list[Loss]]:
        """Each object a region, and the areas of classes that are in no object."""
        names = self.table.names
        inside = (objects > 0) & (classes != VOID)
        numbers = np.where(inside, objects, VOID)
        label_of = labels_of(classes[inside], objects[inside], names, path)
        regions = [
            Region(names[label_of[number]], code=code, where=f'object {number}')
            for number, code in Runs.of(numbers).codes().items()
        ]
        rest = Runs.of(np.where(inside, VOID, classes))
        losses = []
        for label, count in rest.counts().items():
            if label in label_of.values():
                text = f'{path}: {count} pixels of {names[label]!r} are in no object: a crowd'
                losses.append(Loss('pixels of a class in no object', text))
        for number in sorted(set(np.unique(objects).tolist()) - {0, *label_of}):
            text = f'{path}: all pixels of object {number} are void in the mask of classes'
            losses.append(Loss('objects without a class', text))
        return self.areas(rest) + regions, losses


def _roots(path: Path) -> list[Path]:
    """The outermost folders that have masks of classes."""
    level = [path]
    for _ in range(_DEPTH):
        found = [folder for folder in level if _first(folder, _CLASSES)]
        if found:
            return found
        level = [f for folder in level for f in sorted(folder.iterdir()) if f.is_dir()]
    return []


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


def _without_ignore(table: ClassTable, void: Sequence[str]) -> ClassTable:
    """A list of labelme starts with ``__ignore__``, which is number -1, stored as 255."""
    first, entries = table.entries[0], table.entries
    if first.name != '__ignore__' or first.color or first.value is not None:
        return table
    return ClassTable(table.file, entries[1:], void)
