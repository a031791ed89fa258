"""The run that converts annotations: find, read, split, write, check."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
from mmengine.config import Config

from ..inspection.checking import check_config
from ..inspection.configured import SPLITS
from ..inspection.summary import count_errors, findings_text, summary_text
from ..preparation.parallel import for_each
from ..result_names import result_stems
from ..safe_io import replacing
from .annotated import AnnotationSource, Category, Region, SourceImage
from .destination import Destination
from .outputs import OUTPUTS, Output, Part
from .report import describe
from .splitting import SYNONYMS, parse_shares, read_lists, split_by_lists, split_by_share

DEFAULT_SHARES = {'train': 0.8, 'val': 0.2}
_MAX_NAME = 120  # characters of a hidden file


@dataclass(frozen=True)
class Choices:
    """What the user chose, see ``tools/convert_labels.py``.

    Attributes:
        kind: Key of ``OUTPUTS``.
        things: Classes that are counted; None to ask the source.
        stuff: Classes that are not counted; None to ask the source.
        background: Name of the class of pixels without a region.
        shares: Shares of a new division, NAME=SHARE.
        lists: Files of a division by lists, NAME=FILE.
        seed: Seed of the division.
        copy_images: Whether images are copied.
        overwrite: Whether an earlier result is replaced.
    """

    kind: str
    things: Sequence[str] | None = None
    stuff: Sequence[str] | None = None
    background: str | None = None
    shares: Sequence[str] | None = None
    lists: Sequence[str] | None = None
    seed: int = 0
    copy_images: bool = False
    overwrite: bool = False


def choose_categories(found: Sequence[Category], choices: Choices) -> list[Category]:
    """The classes of the result, each known as thing or stuff.

    Raises:
        ValueError: If options name classes that do not exist, or contradict, or if panoptic labels
            are wanted and nothing says which classes are counted.
    """
    names = [category.name for category in found]
    things, stuff = list(choices.things or ()), list(choices.stuff or ())
    background = [choices.background] if choices.background else []
    for option, listed in (('--things', things), ('--stuff', stuff)):
        unknown = [name for name in listed if name not in names + background]
        if unknown:
            raise ValueError(f'{option} names {unknown}, and the classes here are {names}')
    both = sorted(set(things) & set(stuff + background))
    if both:
        raise ValueError(f'{both} cannot be things and stuff or background at once')
    categories = []
    for category in found:
        is_thing = category.is_thing
        if category.name in things or category.name in stuff:
            is_thing = category.name in things
        elif category.name == choices.background:
            is_thing = False
        elif things and not stuff:
            is_thing = False  # the rest
        elif stuff and not things:
            is_thing = True
        categories.append(replace(category, is_thing=is_thing))
    unknown = [category.name for category in categories if category.is_thing is None]
    if unknown and choices.kind == 'panoptic':
        raise ValueError(
            f'panoptic labels need to know which classes are counted, and nothing says it of '
            f'{unknown}: give --things CLASS ... (all others are stuff) or --stuff CLASS ...'
        )
    by_default = choices.kind == 'instance'
    categories = [
        replace(c, is_thing=by_default if c.is_thing is None else c.is_thing) for c in categories
    ]
    if choices.background and choices.background not in names:
        categories.insert(0, Category(choices.background, is_thing=False))
    if choices.kind == 'instance':
        if choices.background:
            raise ValueError('--background is for --to semantic and --to panoptic')
        categories = [category for category in categories if category.is_thing]
    limit = 255 if choices.kind == 'semantic' else 60_000
    if not 0 < len(categories) <= limit:
        raise ValueError(f'there are {len(categories)} classes, and 1 to {limit} are possible')
    return categories


def png_names(names: Sequence[str], kind: str) -> dict[str, str]:
    """Names of the PNGs by those of the images.

    Raises:
        ValueError: If two images of semantic labels differ in their suffix only.
    """
    stems = result_stems(names)
    pngs = {name: f'{stem}.png' for name, stem in zip(names, stems)}
    kept = [name for name, stem in zip(names, stems) if name == stem and '.' in name]
    if kind == 'semantic' and kept:
        raise ValueError(
            f'{len(kept)} images differ from another in their suffix only, as {kept[0]!r}, so that '
            'label PNGs cannot be paired with them by name: rename one of each'
        )
    return pngs


def _stamp(path: Path) -> tuple:
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def _fingerprint(image: SourceImage) -> str:
    """Changes with the image's files, and with what the source read of them in ``find``."""
    annotation = image.annotation
    parts = annotation if isinstance(annotation, (tuple, list)) else [annotation]
    files = [part for part in [image.path, *parts] if isinstance(part, Path) and part.exists()]
    content = pickle.dumps((image.name, image.split, annotation, [_stamp(f) for f in files]), 4)
    return hashlib.sha256(content).hexdigest()


class Worker:
    """Converts one image and keeps what it contributes in a hidden folder.

    Args:
        source: Source of the images, after ``find``.
        output: Kind of result.
        folder: The hidden folder.
        background: Name of the class of pixels without a region, or None.
    """

    def __init__(
        self, source: AnnotationSource, output: Output, folder: Path, background: str | None
    ) -> None:
        self.source, self.output, self.folder = source, output, folder
        self.background = background

    def _path(self, image: SourceImage) -> Path:
        name = quote(image.name, safe='')
        if len(name) > _MAX_NAME:
            name = f'{name[:40]}-{hashlib.sha256(image.name.encode()).hexdigest()}'
        return self.folder / f'{name}.json'

    def part(self, image: SourceImage) -> Part | None:
        """What an earlier run kept of an image, if its files are still the same."""
        try:
            kept = json.loads(self._path(image).read_bytes())
        except FileNotFoundError:
            return None
        png = self.output.png_of(image.name)
        if kept['fingerprint'] != _fingerprint(image) or (png and not png.exists()):
            return None
        return Part(**kept['part'])

    def __call__(self, image: SourceImage) -> None:
        """Convert an image.

        Raises:
            ValueError: Naming the file that is broken.
        """
        try:
            annotated = self.source.read(image)
        except OSError as error:
            raise ValueError(f'{error}') from error
        known = {category.name for category in self.source.categories}
        regions = list(annotated.regions)
        unknown = sorted({region.category for region in regions} - known)
        if unknown:
            raise ValueError(f'{image.path} has regions of {unknown}, which are not classes here')
        if self.output.png_folder is None:  # stuff has no place in an instance JSON
            regions = [r for r in regions if r.category in self.output.category_of]
        if self.background:
            whole = np.ones((annotated.height, annotated.width), np.uint8)
            regions.insert(0, Region.of_mask(self.background, whole, order=float('-inf')))
        annotated = replace(annotated, regions=regions)
        part = self.output.part(image, annotated, self.folder)
        kept = dict(fingerprint=_fingerprint(image), part=part.as_json())
        with replacing(self._path(image), self.folder) as temporary:
            temporary.write_text(json.dumps(kept))


def _divide(
    images: Sequence[SourceImage], parts: Mapping[str, Part], choices: Choices
) -> tuple[dict[str, str], list[str]]:
    """The part (train, val ...) of each image, and what a user should know about it."""
    if choices.shares and choices.lists:
        raise ValueError('give --split or --split-lists, not both')
    names = [image.name for image in images]
    if choices.lists:
        part_of = split_by_lists(names, read_lists(choices.lists))
        left = len(names) - len(part_of)
        return part_of, [f'{left} images are in no list and were left out'] * bool(left)
    own = {image.name: SYNONYMS.get(image.split, image.split) for image in images if image.split}
    if own and not choices.shares:
        left = len(names) - len(own)
        notes = [f'{left} images are in no part of the source and were left out'] * bool(left)
        if 'val' not in own.values():
            notes.append(
                'the source has no part for validation: --split train=0.8 val=0.2 makes one'
            )
        return own, notes
    shares = parse_shares(choices.shares) if choices.shares else DEFAULT_SHARES
    classes_of = {name: list(parts[name].counts) for name in names}
    told = ' '.join(f'{name}={share:g}' for name, share in shares.items())
    return split_by_share(classes_of, shares, choices.seed), [
        f'divided by class as {told} (seed {choices.seed}); --split and --split-lists do otherwise'
    ]


def convert(
    source: AnnotationSource, name: str, folder: Path, choices: Choices, workers: int
) -> tuple[str, int]:
    """Convert annotations, and check the result as ``tools/check_dataset.py`` does.

    Args:
        source: Reader of the files.
        name: Name of its format.
        folder: Folder of the result, made if it does not exist.
        choices: What the user chose.
        workers: Processes, from 1.

    Returns:
        A text for the user, and the number of errors that the check found.

    Raises:
        ValueError: If the source or an option is wrong, before anything is written; if files are
            broken; or if the folder has an earlier result, which is left alone.
        OSError: If something cannot be read or written.
    """
    if not source.path.exists():
        raise ValueError(f'{source.path} does not exist')
    images, problems = source.find()
    if problems:
        raise ValueError('\n  '.join([f'{source.path} cannot be converted:', *problems]))
    if not images:
        raise ValueError(f'{source.path} has no images')
    categories = choose_categories(source.categories, choices)
    pngs = png_names([image.name for image in images], choices.kind)
    output = OUTPUTS[choices.kind](folder, categories, pngs)
    settings = dict(format=name, source=str(source.path.resolve()), options=source.options)
    settings = json.loads(json.dumps({**settings, **asdict(choices)}, default=str))
    settings.pop('overwrite')
    everything = ' '.join(_fingerprint(image) for image in images)
    settings['files'] = hashlib.sha256(everything.encode()).hexdigest()
    destination = Destination(folder, output, source.image_folder, settings)
    if destination.is_complete() and not choices.overwrite:
        return f'{folder} has this conversion already; --overwrite makes it anew', 0
    destination.open(choices.overwrite)
    worker = Worker(source, output, destination.hidden, choices.background)
    todo = [image for image in images if worker.part(image) is None]
    complaints = for_each(worker, todo, workers)
    if complaints:
        raise ValueError(
            '\n  '.join([f'{len(complaints)} images cannot be converted:', *complaints])
            + '\nMend them and give the same command again: the others are done'
        )
    parts = {image.name: worker.part(image) for image in images}
    part_of, notes = _divide(images, parts, choices)
    if choices.copy_images:
        _copy_images([i for i in images if i.name in part_of], folder / 'images', workers)
    destination.write(parts, part_of)
    left = [c.name for c in source.categories if c.name not in output.category_of]
    if left:
        notes.append(f'left out, since an instance JSON has things only: {", ".join(left)}')
    report = describe(parts, part_of, categories, [*source.notes(), *notes])
    splits = [split for split in SPLITS if split in part_of.values()]
    checked = check_config(Config.fromfile(destination.config), splits, workers)
    destination.close(report)
    lines = [report, findings_text(checked, 5), summary_text(checked), destination.next_steps()]
    return '\n'.join(filter(None, lines)), count_errors(checked)


class _Copy:
    """Copies an image below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, image: SourceImage) -> None:
        target = self.folder / image.name
        if target.exists() and target.stat().st_size == image.path.stat().st_size:
            return
        with replacing(target) as temporary:
            shutil.copyfile(image.path, temporary)


def _copy_images(images: Sequence[SourceImage], folder: Path, workers: int) -> None:
    for_each(_Copy(folder), images, workers)
