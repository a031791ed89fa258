"""Small squares of annotated photographs, as a dataset of its own.

A photograph of nuclei holds dozens of objects of 15 pixels. A tile holds a few, and enlarged they
are as large as those of other small sets, so that a small model tells them apart in minutes.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..images.label_files import read_png
from ..images.reading import load_image
from ..quickstart.files import SPLITS, number_segments, write_set

VERSION = 1  # to be raised with every change of the cutting, since finished datasets are reused
TRIES = 50
LEAST_AREA, LEAST_SHARE = 12, 0.25  # of an object in a tile: pixels, and of its whole area


class Tiles:
    """Tiles of one split of a set in COCO panoptic format.

    Args:
        root: Folder of the set, with ``panoptic_{split}.json`` and its folders.
        split: ``'train'`` or ``'val'``.
        least: Objects that a tile has at least, if one is found in ``TRIES`` draws.
    """

    def __init__(self, root: Path, split: str, least: int) -> None:
        self.root, self.split, self.least = root, split, least
        content = json.loads((root / f'panoptic_{split}.json').read_text())
        self.categories: list[dict] = content['categories']
        self.isthing = {c['id']: bool(c['isthing']) for c in self.categories}
        self.images = {image['id']: image['file_name'] for image in content['images']}
        self.annotations: list[dict] = content['annotations']

    def draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, list]:
        """A tile of ``size`` pixels: image H W 3 RGB, segment ids H W, and ``segments_info``."""
        for _ in range(TRIES):
            annotation = self.annotations[rng.integers(len(self.annotations))]
            ids = self._ids(annotation)
            top, left = (int(rng.integers(max(side - size, 0) + 1)) for side in ids.shape)
            window = np.s_[top : top + size, left : left + size]
            parts = self._parts(annotation['segments_info'], ids, window)
            if sum(self.isthing[number] and not crowd for number, crowd, _ in parts) >= self.least:
                break
        file = self.root / self.split / self.images[annotation['image_id']]
        image = load_image(str(file), 'image').pixels[window][..., ::-1]
        return image, *number_segments(rng, image.shape[:2], parts)

    def _ids(self, annotation: Mapping) -> np.ndarray:
        file = self.root / f'panoptic_{self.split}' / annotation['file_name']
        png = read_png(file, 'panoptic PNG', 3, 'restore it')
        return png.astype(np.int32) @ np.array([1, 256, 65536], np.int32)

    def _parts(self, segments: list[dict], ids: np.ndarray, window: tuple) -> list[tuple]:
        """Category, crowd or not, and mask of what is seen of segments; slivers are left void."""
        parts = []
        for segment in segments:
            whole = ids == segment['id']
            mask = whole[window]
            least = max(LEAST_AREA, LEAST_SHARE * whole.sum())
            if mask.sum() >= (least if self.isthing[segment['category_id']] else LEAST_AREA):
                parts.append((segment['category_id'], segment['iscrowd'], mask))
        return parts


def cut_tiles(
    root: Path, out_dir: Path, train: int, val: int, size: int = 64, least: int = 2, seed: int = 0
) -> None:
    """Write a set of tiles, all of it or nothing; a finished one of the same labels stays.

    Args:
        root: Folder of the photographs, a set in COCO panoptic format.
        out_dir: Folder to create, of the same format.
        train: Number of tiles to train on.
        val: Number of tiles to score on, of other photographs.
        size: Height and width in pixels.
        least: See ``Tiles``.
        seed: Seed of their places.

    Raises:
        FileNotFoundError: If the set is missing.
        FileExistsError: If ``out_dir`` has other content.
    """
    tiles = {split: Tiles(root, split, least) for split in SPLITS}
    files = [(root / f'panoptic_{split}.json').read_bytes() for split in SPLITS]
    info = dict(
        description=f'tiles of {root.name}',
        version=VERSION,
        source=[hashlib.sha256(file).hexdigest() for file in files],
        train=train,
        val=val,
        size=size,
    )
    draw = {split: tiles[split].draw for split in SPLITS}
    write_set(out_dir, {**info, 'least': least, 'seed': seed}, draw, tiles['val'].categories, 1)
