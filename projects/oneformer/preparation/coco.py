"""COCO: instance annotation derived from the panoptic annotation."""

import os
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

import numpy as np
from typing_extensions import override

from oneformer_runtime.pixel_limit import max_pixels

from ..datasets.entries import FILE_NAME, FLAG, ID, LIST, SIDE, TEXT, WHOLE, complete
from ..datasets.findings import refuse
from ..host.safe_io import replacing
from ..run_length import encode_mask, json_code, measure_code
from .base import Parts, ResumablePreparation, Sample
from .files import Inventory, check_image, check_shape, read_png, write_records

_SITE = 'of cocodataset.org'


def thing_instances(id_map: np.ndarray, segments: Sequence[dict], things: set[int]) -> list[dict]:
    """COCO annotations, without their own and the image's id, of the things of an image.

    A segment without pixels stays, with an empty mask: no prediction can find it.

    Args:
        id_map: (H, W), 0 = void.
        segments: The ``segments_info``.
        things: Category ids.

    Raises:
        ValueError: If the map has an id that the segments do not list.
    """
    id_map = np.asfortranarray(id_map)  # as the masks are encoded
    ids = id_map.ravel('K')
    starts = ids[np.flatnonzero(np.diff(ids, prepend=-1))]  # of runs: far fewer than pixels to sort
    unknown = set(np.unique(starts).tolist()) - {0} - {segment['id'] for segment in segments}
    if unknown:
        raise ValueError(f'has the segment ids {sorted(unknown)}, which segments_info lacks')
    instances = []
    for segment in segments:
        if segment['category_id'] in things:
            code = encode_mask(id_map == segment['id'])
            instances.append(
                dict(
                    category_id=segment['category_id'],
                    iscrowd=segment['iscrowd'],
                    segmentation=json_code(code),
                    **measure_code(code),
                )
            )
    return instances


@lru_cache(maxsize=1)
def _open_archive(path: Path, process: int) -> ZipFile:
    """One handle per process: a forked one would share the position in the file."""
    return ZipFile(path)


class COCO(ResumablePreparation):
    """Builds ``annotations/panoptic2instances_{train,val}2017.json``.

    The root holds train2017, val2017 and annotations. Panoptic PNGs that are still in the archive
    inside the download are unpacked; only files that the JSON names are, whatever else an archive
    holds.
    """

    official_counts = dict(train=118287, val=5000)

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self.things = {}  # categories by split, known when the JSON is read

    @override
    def targets(self, split: str) -> tuple[Path, ...]:
        return (self.root / f'annotations/panoptic2instances_{split}2017.json',)

    @override
    def find(self, split: str) -> tuple[list[Sample], list[str]]:
        inventory = Inventory(self.root)
        source = f'panoptic_annotations_trainval2017.zip {_SITE}'
        name = f'panoptic_{split}2017'
        images = inventory.files(f'{split}2017', '.jpg', f'{split}2017.zip {_SITE}')
        panoptic = inventory.json(
            f'annotations/{name}.json',
            dict(
                images=dict(id=ID, file_name=FILE_NAME, height=SIDE, width=SIDE),
                annotations=dict(image_id=ID, file_name=FILE_NAME, segments_info=LIST),
                categories=dict(id=WHOLE, name=TEXT, isthing=FLAG),
            ),
            source,
        )
        folder, archive = (self.root / 'annotations' / end for end in (name, f'{name}.zip'))
        packed = self._packed(archive, inventory)
        unpacked = {path.name for path in folder.glob('[!.]*.png')}
        if not packed and not unpacked:
            inventory.problems.append(
                f'annotations/{name}/ and annotations/{name}.zip do not exist, one of them holds '
                f'the PNGs: from {source}'
            )
        if panoptic is None or inventory.problems:
            return [], inventory.problems
        entries = {entry['id']: entry for entry in panoptic['images']}
        annotations = panoptic['annotations']
        inventory.match(
            (annotation['image_id'] for annotation in annotations),
            f'annotations of {name}.json',
            entries,
            f'images of {name}.json',
        )
        inventory.match(
            (path.name for path in images.values()),
            f'images of {split}2017',
            (entry['file_name'] for entry in entries.values()),
            f'images of {name}.json',
        )
        inventory.match(
            (annotation['file_name'] for annotation in annotations),
            f'annotations of {name}.json',
            unpacked | set(packed),
            f'PNGs of annotations/{name}',
        )
        if inventory.problems:
            return [], inventory.problems
        self.things[split] = [c for c in panoptic['categories'] if c['isthing']]
        return [
            Sample(
                name=Path(annotation['file_name']).stem,
                image_id=annotation['image_id'],
                files=dict(
                    image=self.root / f'{split}2017' / entries[annotation['image_id']]['file_name'],
                    archive=archive,
                ),
                # an output, since it may come from the archive
                outputs=(folder / annotation['file_name'],),
                record=dict(
                    image=entries[annotation['image_id']],
                    segments=annotation['segments_info'],
                    member=packed.get(annotation['file_name']),
                    things=[category['id'] for category in self.things[split]],
                ),
            )
            for annotation in annotations
        ], []

    @staticmethod
    def _packed(archive: Path, inventory: Inventory) -> dict[str, str]:
        """Names of the PNGs in the archive to names of its members."""
        if not archive.exists():
            return {}
        try:
            with ZipFile(archive) as packed:
                paths = map(PurePosixPath, packed.namelist())
                return {
                    path.name: str(path)
                    for path in paths
                    if str(path.parent) == archive.stem
                    and path.suffix == '.png'
                    and path.name[0] != '.'
                }
        except BadZipFile as error:
            inventory.problems.append(f'{archive} is damaged ({error}): download it again')
            return {}

    @override
    def convert(self, sample: Sample, scratch: Path) -> dict:
        png, entry = sample.outputs[0], sample.record['image']
        what = f'segment of image id {sample.image_id}'
        keys = dict(id=WHOLE, category_id=WHOLE, iscrowd=FLAG)
        complete(sample.record['segments'], keys, what, 'the panoptic JSON', refuse)
        if not png.exists():
            self._unpack(sample, scratch)
        expected = entry['height'], entry['width']
        image = sample.files['image']
        check_shape(image, check_image(image, 'image'), 'the JSON', expected)
        colors = read_png(png, 'panoptic PNG', channels=3).astype(np.int32)
        check_shape(png, colors.shape[:2], 'the JSON', expected)
        id_map = colors[..., 0] | colors[..., 1] << 8 | colors[..., 2] << 16
        try:
            instances = thing_instances(
                id_map, sample.record['segments'], set(sample.record['things'])
            )
        except ValueError as error:
            raise ValueError(f'panoptic PNG {png} {error}') from error
        return dict(instances=[dict(i, image_id=sample.image_id) for i in instances])

    @staticmethod
    def _unpack(sample: Sample, scratch: Path) -> None:
        archive, member = sample.files['archive'], sample.record['member']
        packed = _open_archive(archive, os.getpid())
        size = packed.getinfo(member).file_size
        if size > 4 * max_pixels():  # a bomb; RGB has three bytes
            raise ValueError(f'{member} in {archive} would have {size} bytes: replace the archive')
        try:
            content = packed.read(member)
        except (BadZipFile, EOFError, zlib.error) as error:
            raise ValueError(f'{member} in {archive} is damaged ({error})') from error
        with replacing(sample.outputs[0], scratch) as temporary:
            temporary.write_bytes(content)

    @override
    def merge(self, split: str, samples: Sequence[Sample], parts: Parts) -> None:
        records = (record for part in parts.read(samples) for record in part['instances'])
        # pycocotools takes the id 0 for 'no match'
        numbered = (dict(record, id=n) for n, record in enumerate(records, 1))
        images = (sample.record['image'] for sample in samples)
        content = dict(images=images, annotations=numbered, categories=self.things[split])
        write_records(self.targets(split)[0], parts.folder, content)
