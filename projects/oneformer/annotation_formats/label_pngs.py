"""Label PNGs beside instance annotation: what they say of the pixels that no object covers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..run_length import code_area, decode_mask
from .annotated import Loss, Region, SourceImage
from .class_tables import ClassTable
from .collecting import Collected
from .frames import Frame, frame_of
from .label_maps import VOID, Runs, read_class_map, upright
from .mask_pairs import find_ending
from .reading import ImageFolder, ambiguous_image, some, without_suffix

_VOID = 255


class LabelPngs:
    """Label PNGs of the images that a JSON annotates.

    Args:
        folder: Folder of the PNGs, which have the names of the images.
        table: Meaning of their numbers or colours.
        things: Classes of the JSON, which has their objects one by one.

    Raises:
        ValueError: If the folder does not exist.
    """

    def __init__(self, folder: Path, table: ClassTable, things: Sequence[str]) -> None:
        self.table = table
        self.things = set(things)
        self.folder = ImageFolder(folder)

    @property
    def stuff(self) -> list[str]:
        """Classes that only the PNGs have."""
        return [name for name in self.table.names if name not in self.things]

    def find(
        self, images: Sequence[SourceImage], ending: str | None, found: Collected
    ) -> dict[str, Path]:
        """The PNG of each image, by the name of the image.

        Args:
            images: All images.
            ending: Ending of the PNGs' names after those of images; None to find it out.
            found: Collector of images without a PNG, and of PNGs without an image.
        """
        folder, names = self.folder.path, self.folder.names
        stems = {image.name: without_suffix(image.name) for image in images}
        if ending is None:
            known = [stem for whole in stems.values() for stem in (whole, whole.rpartition('/')[2])]
            ending = find_ending(known, list(map(without_suffix, names)))
        pngs, missing = {}, []
        for name, stem in stems.items():
            parts = stem.split('/')
            tried = ('/'.join(parts[k:]) + ending for k in range(len(parts)))
            candidates = next(filter(None, map(self.folder.of_stem, tried)), [])
            if not candidates:
                missing.append(name)
            elif len(candidates) > 1:
                text = ambiguous_image(f'image {name}', candidates, folder)
                found.error('ambiguous label PNGs', text, folder)
            else:
                pngs[name] = folder / candidates[0]
        alone = sorted(set(names) - {p.relative_to(folder).as_posix() for p in pngs.values()})
        if missing:
            found.error(
                'images without label PNG',
                f'{len(missing)} of {len(images)} images have no label PNG in {folder}: '
                f'{some(missing)}: add it, take them out of the JSON, or name the ending of PNGs '
                'by --label-suffix',
            )
        if alone:
            found.note(
                f'{len(alone)} of {len(names)} label PNGs in {folder} are of no image of the JSON '
                f'and are left out: {some(alone)}'
            )
        shared = len(pngs) - len(set(pngs.values()))
        if shared:
            found.error(
                'label PNG of two images',
                f'{shared} label PNGs in {folder} would be of two images each: put them into the '
                'folders that the images have',
            )
        return pngs

    def regions(
        self, image: SourceImage, frame: Frame, objects: Sequence[Region]
    ) -> tuple[list[Region], list[Loss]]:
        """Areas of stuff, below all objects, and of things that no object covers, as crowds.

        Args:
            image: The image; its PNG is the second of its annotations.
            frame: Frame of the objects.
            objects: Regions of the JSON.

        Raises:
            ValueError: If the PNG is broken, or of another size than the image.
        """
        path = image.annotation[1]
        runs = read_class_map(path, 'label PNG', self.table, {_VOID: None})
        own = frame
        if runs.shape != frame.drawn:  # the two may be drawn on differently turned pixels
            own = frame_of(image.path, runs.shape, f'label PNG {path}')
        labels = upright(runs.numbers(runs.values), own)
        names, regions, losses = self.table.names, [], []
        covered = np.zeros(labels.shape, bool)
        for region in objects:
            covered |= decode_mask(region.encoded(frame.height, frame.width))
        is_thing = np.array([*(name in self.things for name in names), False])  # VOID is -1
        free = np.where(is_thing[labels] & covered, VOID, labels)
        for label, code in Runs.of(free).codes().items():
            name = names[label]
            thing = name in self.things
            where = f'area of {name} in {path.name}'
            regions.append(Region(name, code=code, crowd=thing, order=-1, where=where))
            if thing:
                text = f'{code_area(code)} pixels of {name!r} are in no object of the JSON'
                text = f'{path}: {text}: they become a crowd'
                losses.append(Loss('pixels of things without an object', text))
        return regions, losses
