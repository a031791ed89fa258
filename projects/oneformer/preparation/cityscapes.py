"""Cityscapes: panoptic annotation through cityscapesscripts."""

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from typing_extensions import override

from ..host.safe_io import replacing
from .base import Parts, ResumablePreparation, Sample
from .files import Inventory, check_image, check_shape, read_png

_SITE = 'of www.cityscapes-dataset.com'


class Cityscapes(ResumablePreparation):
    """Builds ``gtFine/cityscapes_panoptic_{train,val}.json`` and the panoptic PNGs.

    The root holds leftImg8bit and gtFine. The files are those that ``convert2panoptic`` of
    cityscapesscripts writes in one call, the wrong ``file_name`` of its ``images`` included; here
    it is called for each image, since one call can neither be shared by processes nor continued.
    """

    official_counts = dict(train=2975, val=500)

    @override
    def targets(self, split: str) -> tuple[Path, ...]:
        return (self.root / f'gtFine/cityscapes_panoptic_{split}.json',)

    @override
    def find(self, split: str) -> tuple[list[Sample], list[str]]:
        inventory = Inventory(self.root)
        if find_spec('cityscapesscripts') is None:
            inventory.problems.append('the package: pip install cityscapesscripts')
        images = inventory.files(
            f'leftImg8bit/{split}', '_leftImg8bit.png', f'leftImg8bit_trainvaltest.zip {_SITE}', 1
        )
        truth = {
            kind: inventory.files(
                f'gtFine/{split}', f'_gtFine_{kind}.png', f'gtFine_trainvaltest.zip {_SITE}', 1
            )
            for kind in ('instanceIds', 'labelIds')
        }
        for kind, found in truth.items():
            other = f'{kind} PNGs of gtFine/{split}'
            inventory.match(images, f'images of leftImg8bit/{split}', found, other)
        if inventory.problems:
            return [], inventory.problems
        output = self.targets(split)[0].with_suffix('')
        return [
            Sample(
                name=name,
                image_id=name,
                files=dict(image=images[name], instances=path, labels=truth['labelIds'][name]),
                outputs=(output / f'{name}_gtFine_panoptic.png',),
            )
            for name, path in truth['instanceIds'].items()
        ], []

    @override
    def convert(self, sample: Sample, scratch: Path) -> dict:
        from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic

        image, instances, labels = (sample.files[kind] for kind in ('image', 'instances', 'labels'))
        shape = check_image(image, 'image')
        check_shape(labels, check_image(labels, 'label map'), image, shape)
        check_shape(instances, read_png(instances, 'instance map', 1).shape, image, shape)
        with TemporaryDirectory(dir=scratch) as temporary:
            city = Path(temporary, 'one', 'city')
            city.mkdir(parents=True)
            (city / instances.name).write_bytes(instances.read_bytes())
            try:
                with redirect_stdout(StringIO()):
                    convert2panoptic(temporary, temporary, setNames=['one'])
            except KeyError as error:
                raise ValueError(
                    f'instance map {instances} has label id {error}, which Cityscapes does not have'
                ) from error
            with replacing(sample.outputs[0], scratch) as png:
                Path(temporary, 'cityscapes_panoptic_one', sample.outputs[0].name).replace(png)
            return json.loads(Path(temporary, 'cityscapes_panoptic_one.json').read_bytes())

    @override
    def merge(self, split: str, samples: Sequence[Sample], parts: Parts) -> None:
        merged = dict(images=[], annotations=[])
        for part in parts.read(samples):
            merged['images'] += part['images']
            merged['annotations'] += part['annotations']
            merged['categories'] = part['categories']
        with replacing(self.targets(split)[0], parts.folder) as temporary:
            # as cityscapesscripts writes it, byte for byte
            temporary.write_text(json.dumps(merged, sort_keys=True, indent=4))
