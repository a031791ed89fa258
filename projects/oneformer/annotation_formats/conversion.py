"""The run that converts annotations: find, read, split, write, check."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from mmengine.config import Config

from ..host.safe_io import replacing, write_bytes
from ..inspection.checking import check_config
from ..inspection.configured import SPLITS
from ..inspection.summary import count_errors, findings_text, summary_text
from ..preparation.parallel import for_each
from .annotated import AnnotationSource, SourceImage
from .choices import Choices, choose_categories, png_names
from .destination import Destination
from .outputs import OUTPUTS, Part
from .report import describe
from .split_names import SYNONYMS
from .splitting import parse_shares, read_lists, split_by_lists, split_by_share
from .worker import Worker, fingerprint

DEFAULT_SHARES = {'train': 0.8, 'val': 0.2}
_SHOWN = 20  # images that cannot be converted, on the screen


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


def _find(source: AnnotationSource) -> list[SourceImage]:
    if not source.path.exists():
        raise ValueError(f'{source.path} does not exist')
    images, problems = source.find()
    if problems:
        raise ValueError('\n  '.join([f'{source.path} cannot be converted:', *problems]))
    if not images:
        raise ValueError(f'{source.path} has no images')
    return images


def _settings(
    source: AnnotationSource, name: str, choices: Choices, images: Sequence[SourceImage]
) -> dict:
    """What makes two conversions the same, as plain values."""
    settings = dict(format=name, source=str(source.path.resolve()), options=source.options)
    settings = json.loads(json.dumps({**settings, **asdict(choices)}, default=str))
    settings.pop('overwrite')
    everything = ' '.join(fingerprint(image) for image in images)
    settings['files'] = hashlib.sha256(everything.encode()).hexdigest()
    return settings


def _describe_broken(complaints: Sequence[str], path: Path) -> str:
    """The first of the images that cannot be converted; a file gets all if they are many."""
    shown = list(complaints)
    if len(shown) > _SHOWN:
        write_bytes(path, '\n'.join([*complaints, '']).encode())
        shown = [*shown[:_SHOWN], f'and {len(complaints) - _SHOWN} more, all of them in {path}']
    return (
        '\n  '.join([f'{len(complaints)} images cannot be converted:', *shown])
        + '\nMend them and give the same command again: the others are done'
    )


def convert(
    source: AnnotationSource, name: str, folder: Path, choices: Choices, workers: int
) -> tuple[str, int]:
    """Convert annotations, and check the result as ``oneformer check`` does.

    Args:
        source: Reader of the files.
        name: Name of its format.
        folder: Folder of the result, made if it does not exist.
        choices: Options of the user.
        workers: Processes, from 1.

    Returns:
        A text for the user, and the number of errors that the check found.

    Raises:
        ValueError: If the source or an option is wrong, before anything is written; if files are
            broken; or if the folder has an earlier result, which is left alone.
        OSError: If something cannot be read or written.
    """
    images = _find(source)
    categories = choose_categories(source.categories, choices)
    pngs = png_names([image.name for image in images], choices.kind)
    output = OUTPUTS[choices.kind](folder, categories, pngs)
    settings = _settings(source, name, choices, images)
    destination = Destination(folder, output, source.image_folder, settings)
    if destination.is_complete() and not choices.overwrite:
        return f'{folder} has this conversion already; --overwrite makes it anew', 0
    destination.open(choices.overwrite)
    worker = Worker(source, output, destination.hidden, choices.background)
    parts = {image.name: worker.part(image) for image in images}
    todo = [image for image in images if parts[image.name] is None]
    complaints = for_each(worker, todo, workers)
    if complaints:
        raise ValueError(_describe_broken(complaints, destination.hidden / 'broken.txt'))
    parts.update((image.name, worker.part(image)) for image in todo)
    part_of, notes = _divide(images, parts, choices)
    if choices.copy_images:
        copied = [image for image in images if image.name in part_of]
        for_each(partial(_copy_image, folder / 'images'), copied, workers)
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


def _copy_image(folder: Path, image: SourceImage) -> None:
    target = folder / image.name
    if target.exists() and target.stat().st_size == image.path.stat().st_size:
        return
    with replacing(target) as temporary:
        shutil.copyfile(image.path, temporary)
