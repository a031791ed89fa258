"""Mapillary Vistas v1.2: complete as it is downloaded; it is only checked."""

from collections.abc import Sequence

from typing_extensions import override

from ..datasets.entries import FILE_NAME, ID, LIST, TEXT, WHOLE
from .base import Preparation, Sample, count_records, run
from .files import Inventory, check_image, check_shape

_SOURCE = 'the archive of Mapillary Vistas v1.2, www.mapillary.com/dataset/vistas'
_FOLDERS = {'train': 'training', 'val': 'validation'}
_KINDS = ('labels', 'instances', 'panoptic')


def check_sizes(sample: Sample) -> None:
    """Raise ``ValueError`` if a file of the image is damaged or has another size than the image."""
    image = sample.files['image']
    shape = check_image(image, 'image')
    for kind in _KINDS:
        path = sample.files[kind]
        check_shape(path, check_image(path, f'{kind} PNG'), image, shape)


class Mapillary(Preparation):
    """Checks that every image has its three annotations, undamaged.

    The root holds the folders training and validation.
    """

    official_counts = dict(train=18000, val=2000)

    @override
    def find(self, split: str) -> tuple[list[Sample], list[str]]:
        inventory = Inventory(self.root)
        folder = _FOLDERS[split]
        older = self.root / folder / 'v1.2'
        if older.is_dir():
            return [], [
                f'{folder}/{{{",".join(_KINDS)}}}/: this is the archive of Vistas v2.0, which has '
                f'them in {folder}/v1.2: move everything in {older} to {older.parent}'
            ]
        images = inventory.files(f'{folder}/images', '.jpg', _SOURCE)
        found = {kind: inventory.files(f'{folder}/{kind}', '.png', _SOURCE) for kind in _KINDS}
        for kind, paths in found.items():
            inventory.match(images, f'images of {folder}/images', paths, f'PNGs of {folder}/{kind}')
        name = self._json(split)
        panoptic = inventory.json(
            name,
            dict(
                images=dict(id=ID, file_name=FILE_NAME),
                annotations=dict(image_id=ID, file_name=FILE_NAME, segments_info=LIST),
                categories=dict(id=WHOLE, name=TEXT),
            ),
            _SOURCE,
        )
        if panoptic is not None:
            for key in ('images', 'annotations'):
                stems = (entry['file_name'].rsplit('.', 1)[0] for entry in panoptic[key])
                inventory.match(images, f'images of {folder}/images', stems, f'{key} of {name}')
        if inventory.problems:
            return [], inventory.problems
        return [
            Sample(
                name=name,
                image_id=name,
                files=dict(image=image, **{kind: paths[name] for kind, paths in found.items()}),
            )
            for name, image in images.items()
        ], []

    @staticmethod
    def _json(split: str) -> str:
        return f'{_FOLDERS[split]}/panoptic/panoptic_2018.json'

    @override
    def build(self, split: str, samples: Sequence[Sample], workers: int) -> None:
        print(f'{split}: nothing to build, {len(samples)} images to check', flush=True)
        run(check_sizes, samples, workers)

    @override
    def count(self, split: str, samples: Sequence[Sample]) -> list[str]:
        _, annotations, segments = count_records(self.root / self._json(split))
        return [
            f'{split}: {len(samples)} images, {annotations} annotations, {segments} segments '
            f'in {self.root / self._json(split)}'
        ]
