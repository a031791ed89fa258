"""Bitmasks of BDD100K: class, attributes and number of the object in R, G and (B, A) of a PNG."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from ..images.image_files import ImageTooLargeError, open_image
from .annotated import AnnotatedImage, AnnotationSource, Category, Loss, Region, SourceImage
from .class_tables import ClassTable
from .collecting import Collected
from .label_maps import VOID, Runs, frame_of_mask, upright
from .mask_pairs import MaskPair, common_folder, pair_folders, placed
from .reading import some
from .table_files import read_class_table

# numbers 1 to 40; 0 is unlabeled
STUFF = (
    'dynamic', 'ego vehicle', 'ground', 'static', 'parking', 'rail track', 'road', 'sidewalk',
    'bridge', 'building', 'fence', 'garage', 'guard rail', 'tunnel', 'wall', 'banner', 'billboard',
    'lane divider', 'parking sign', 'pole', 'polegroup', 'street light', 'traffic cone',
    'traffic device', 'traffic light', 'traffic sign', 'traffic sign frame', 'terrain',
    'vegetation', 'sky',
)  # fmt: skip
THINGS = (
    'person', 'rider', 'bicycle', 'bus', 'car', 'caravan', 'motorcycle', 'trailer', 'train',
    'truck',
)  # fmt: skip
INSTANCES = (  # numbers 1 to 8
    'pedestrian', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle',
)  # fmt: skip
IGNORE, CROWD = 1, 2  # bits of G; 4 is occluded, 8 truncated
_FOLDERS = {'pan_seg': 'panoptic', 'ins_seg': 'instances'}


class BddSource(AnnotationSource):
    """BDD100K's panoptic or instance bitmasks; see ``docs/label_formats.md``."""

    title: ClassVar[str] = 'BDD100K bitmasks, of panoptic or instance segmentation'
    kinds: ClassVar[tuple[str, ...]] = ('panoptic', 'instance', 'semantic')

    def __init__(self, path: Path, **options) -> None:
        super().__init__(path, **options)
        self.names: dict[int, str] = {}
        self._table: Path | None = None

    @classmethod
    @override
    def add_options(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            '--classes',
            metavar='FILE',
            help="'panoptic' (40 classes), 'instances' (8), or a file with the names, one a line "
            'from number 1 on (default: by the folder, pan_seg or ins_seg)',
        )
        parser.add_argument('--images', type=Path, help='folder of the images, if not found')
        parser.add_argument('--masks', type=Path, help='folder of the bitmasks, if not found')

    @override
    def find(self) -> tuple[list[SourceImage], list[str]]:
        self._found = found = Collected()
        masks = self._find_masks()
        if masks is None:
            return [], found.problems()
        try:
            self._read_classes(masks)
        except (OSError, ValueError) as error:
            found.error('classes', str(error))
        images = self._find_images(masks)
        pairs: list[MaskPair] = []
        if images is not None:
            try:
                pairs = pair_folders(images, masks, None, '', found)
            except ValueError as error:
                found.error('no folder', str(error))
        if not pairs:
            return [], found.problems() or [f'{masks} has no bitmask of an image in {images}']
        self._folder = common_folder([pair.image for pair in pairs])
        table = [] if self._table is None else [self._table]
        return [pair.source_image(self._folder, *table) for pair in pairs], found.problems()

    def _find_masks(self) -> Path | None:
        """The folder of bitmasks: ``labels/pan_seg/bitmasks`` as it is unpacked."""
        named = self.options.get('masks')
        if named:
            return placed(self.path, named)
        found = [path for path in sorted(self.path.glob('**/bitmasks')) if path.is_dir()]
        if len(found) != 1:
            what = f'has several, {some(found)}' if found else 'has no folder bitmasks'
            self._found.error('no masks', f'{self.path} {what}: say which by --masks FOLDER')
            return None
        return found[0]

    def _find_images(self, masks: Path) -> Path | None:
        """The folder of images: ``images/10k`` as it is unpacked."""
        named = self.options.get('images')
        if named:
            return placed(self.path, named)
        parts = sorted(path.name for path in masks.iterdir() if path.is_dir())
        candidates = [self.path / 'images/10k', self.path / 'images', self.path / 'images/100k']
        candidates += sorted(self.path.glob('**/images/10k')) + sorted(self.path.glob('**/images'))
        for folder in dict.fromkeys(candidates):
            if folder.is_dir() and all((folder / part).is_dir() for part in parts):
                return folder
        self._found.error(
            'no images',
            f'{self.path} has no folder images/10k or images with {some(parts) or "images"}: say '
            'where they are by --images FOLDER',
        )
        return None

    def _read_classes(self, masks: Path) -> None:
        chosen = self.options.get('classes')
        if chosen is None:
            chosen = next((_FOLDERS[n] for n in masks.parts[::-1] if n in _FOLDERS), 'panoptic')
        if chosen in _FOLDERS.values():
            stuff, things = (STUFF, THINGS) if chosen == 'panoptic' else ((), INSTANCES)
            self.names = dict(enumerate((*stuff, *things), 1))
            self._categories = [Category(n, n in things) for n in self.names.values()]
            return
        self._table = Path(chosen)
        table = read_class_table(self._table)
        self.names = _from_one(table)
        self._categories = [Category(name) for name in table.names]

    @override
    def read(self, image: SourceImage) -> AnnotatedImage:
        mask = image.annotation[0]
        pixels = read_bitmask(mask)
        frame, losses = frame_of_mask(image.path, mask, pixels.shape[:2])
        labels, bits, high, low = np.moveaxis(pixels.astype(np.int32), 2, 0)
        # one number for all that makes an object
        whole = labels << 24 | (bits & 3) << 16 | high << 8 | low
        whole = np.where(labels == 0, VOID, whole.astype(np.int64))
        keys, numbers = np.unique(whole, return_inverse=True)
        numbers = np.where(whole == VOID, VOID, numbers.reshape(whole.shape)).astype(np.int32)
        codes = Runs.of(upright(numbers, frame)).codes()
        objects = [(int(keys[number]), code) for number, code in codes.items()]
        regions, told = self._regions(objects, mask)
        return AnnotatedImage(frame.height, frame.width, regions, losses=[*losses, *told])

    def _regions(self, objects: Sequence[tuple[int, dict]], mask: Path):
        """Regions of objects, and of what is left out; ValueError for numbers that are not ours."""
        kinds = {category.name: category.is_thing for category in self._categories}
        unknown = sorted({key >> 24 for key, _ in objects} - set(self.names))
        if unknown:
            raise ValueError(
                f'bitmask {mask} has the classes {unknown} in R, and there are {len(self.names)}, '
                f'{min(self.names)} to {max(self.names)}: choose others by --classes, or correct it'
            )
        classes_of: dict[int, set[int]] = {}
        for key, _ in objects:
            classes_of.setdefault(key & 0xFFFF, set()).add(key >> 24)
        regions, losses = [], []
        for key, code in objects:
            name, number, bits = self.names[key >> 24], key & 0xFFFF, key >> 16 & 3
            where = f'object {number} ({name})'
            if kinds[name] and number and len(classes_of[number]) > 1:
                others = some(sorted(self.names[label] for label in classes_of[number]))
                raise ValueError(
                    f'bitmask {mask}: object {number} has pixels of several classes, {others}: '
                    'correct it'
                )
            crowd = bool(bits & CROWD) or number == 0
            if kinds[name] and not number:
                text = f'{mask}: pixels of {name!r} have object number 0 and become a crowd'
                losses.append(Loss('things without a number', text))
            ignored = bool(bits & IGNORE)
            regions.append(Region(name, code=code, crowd=crowd, ignored=ignored, where=where))
        return regions, losses


def _from_one(table: ClassTable) -> dict[int, str]:
    """Names by number: those of the table, or its lines from 1 on."""
    first = int(all(entry.value is None for entry in table.entries))
    return {first + number: name for number, name in table.by_value.items() if name is not None}


def read_bitmask(path: Path) -> np.ndarray:
    """R, G, B, A of a bitmask, uint8 of shape (H, W, 4).

    Raises:
        ValueError: If it is missing, damaged, or not a PNG in RGBA with 8 bits.
    """
    try:
        with open_image(path, f'bitmask {path}') as image:
            mode, kind = image.mode, image.format
            pixels = np.array(image) if mode == 'RGBA' else None
    except ImageTooLargeError:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise ValueError(f'bitmask {path} is damaged ({error}): download it again') from error
    if pixels is None or kind != 'PNG':
        raise ValueError(
            f'bitmask {path} is {kind} in {mode}, not a PNG in RGBA, which has the class in R, '
            'attributes in G and the number of the object in B and A: take the folder bitmasks, '
            'not colormaps'
        )
    return pixels
