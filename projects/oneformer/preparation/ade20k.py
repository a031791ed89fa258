"""ADE20K: panoptic and instance annotation from its semantic and instance maps.

Legend: H, W pixels of an image.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from typing_extensions import override

from ..host.safe_io import write_png
from ..metainfo import KNOWN_DATASETS
from ..run_length import encode_mask, json_code, measure_code
from .base import Parts, ResumablePreparation, Sample
from .files import Inventory, check_image, check_shape, read_png, write_records

CLASSES = KNOWN_DATASETS['ade20k']['classes']
THINGS = [
    label for label, name in enumerate(CLASSES) if name in KNOWN_DATASETS['ade20k']['thing_classes']
]
_SITE = 'of the MIT Scene Parsing Benchmark, sceneparsing.csail.mit.edu'
_FOLDERS = {'train': 'training', 'val': 'validation'}


def _present(values: np.ndarray) -> list[int]:
    """The values of a map, without 0."""
    return (1 + np.flatnonzero(np.bincount(values.ravel())[1:])).tolist()


def panoptic_segments(semantic: np.ndarray, instances: np.ndarray) -> tuple[np.ndarray, list[dict]]:
    """Join the two maps of an image: instances over stuff.

    Things of the semantic map become void where the instance map has none. Areas and boxes of stuff
    are those before things were painted over it, and stuff that is covered completely stays listed:
    published PQ is measured so.

    Args:
        semantic: (H, W), label + 1, 0 = void.
        instances: (H, W, 3), red the position of the class among the things, from 1; green the
            number of the instance, 0 = none.

    Returns:
        The panoptic PNG (H, W, 3) and its ``segments_info``. The id of a segment is
        label + 1 + 256 * number of the instance (0 for stuff): in the PNG red is the class and
        green the instance.

    Raises:
        ValueError: If the maps hold values that ADE20K does not have.
    """
    if semantic.max() > len(CLASSES):
        raise ValueError(f'the semantic map has label {semantic.max()}, the last is {len(CLASSES)}')
    id_map = np.zeros(semantic.shape, np.uint16)
    segments = []

    def paint(mask, label, number):
        segment_id = label + 1 + 256 * number
        id_map[mask] = segment_id
        measured = measure_code(encode_mask(mask))
        segments.append(dict(id=segment_id, category_id=label, iscrowd=0, **measured))

    for value in _present(semantic):
        if value - 1 not in THINGS:
            paint(semantic == value, value - 1, 0)
    numbers = instances[..., 1]
    for number in _present(numbers):
        mask = numbers == number
        classes = np.unique(instances[mask, 0]).tolist()
        if len(classes) > 1 or not 1 <= classes[0] <= len(THINGS):
            raise ValueError(
                f'instance {number} has the classes {classes}, expected one from 1 to {len(THINGS)}'
            )
        paint(mask, THINGS[classes[0] - 1], number)
    return np.stack([id_map & 255, id_map >> 8, 0 * id_map], -1).astype(np.uint8), segments


class ADE20K(ResumablePreparation):
    """Builds ``ade20k_{panoptic,instance}_{train,val}.json`` and the panoptic PNGs.

    The root is the folder ADEChallengeData2016. Both JSON files have the 150 labels as category
    ids, and names of files as image ids.
    """

    official_counts = dict(train=20210, val=2000)

    @override
    def targets(self, split: str) -> tuple[Path, ...]:
        return tuple(self.root / f'ade20k_{kind}_{split}.json' for kind in ('panoptic', 'instance'))

    @override
    def find(self, split: str) -> tuple[list[Sample], list[str]]:
        inventory = Inventory(self.root)
        main, extra = (
            f'{archive} {_SITE}'
            for archive in ('ADEChallengeData2016.zip', 'annotations_instance.tar')
        )
        folder = _FOLDERS[split]
        images = inventory.files(f'images/{folder}', '.jpg', main)
        semantic = inventory.files(f'annotations/{folder}', '.png', main)
        instances = inventory.files(f'annotations_instance/{folder}', '.png', extra)
        for name, found in (('annotations', semantic), ('annotations_instance', instances)):
            inventory.match(images, f'images of images/{folder}', found, f'PNGs of {name}/{folder}')
        if inventory.problems:
            return [], inventory.problems
        output = self.targets(split)[0].with_suffix('')
        return [
            Sample(
                name=name,
                image_id=name,
                files=dict(image=image, semantic=semantic[name], instances=instances[name]),
                outputs=(output / f'{name}.png',),
            )
            for name, image in images.items()
        ], []

    @override
    def convert(self, sample: Sample, scratch: Path) -> dict:
        files = sample.files
        height, width = check_image(files['image'], 'image')
        semantic = read_png(files['semantic'], 'semantic map', channels=1)
        instances = read_png(files['instances'], 'instance map', channels=3)
        for kind, array in (('semantic', semantic), ('instances', instances)):
            check_shape(files[kind], array.shape[:2], files['image'], (height, width))
        try:
            png, segments = panoptic_segments(semantic, instances)
        except ValueError as error:
            raise ValueError(f'{files["semantic"]} and {files["instances"]}: {error}') from error
        write_png(sample.outputs[0], png, scratch)
        numbers = np.asfortranarray(instances[..., 1])  # as the masks are encoded
        return dict(
            image=dict(id=sample.image_id, file_name=files['image'].name)
            | dict(height=height, width=width),
            annotation=dict(
                image_id=sample.image_id, file_name=sample.outputs[0].name, segments_info=segments
            ),
            instances=[
                dict(
                    segment,
                    image_id=sample.image_id,
                    segmentation=json_code(encode_mask(numbers == segment['id'] // 256)),
                )
                for segment in segments
                if segment['category_id'] in THINGS
            ],
        )

    @override
    def merge(self, split: str, samples: Sequence[Sample], parts: Parts) -> None:
        panoptic, instance = self.targets(split)
        categories = [
            dict(id=label, name=name, isthing=int(label in THINGS))
            for label, name in enumerate(CLASSES)
        ]
        images = [part['image'] for part in parts.read(samples)]
        annotations = (part['annotation'] for part in parts.read(samples))
        content = dict(images=images, annotations=annotations, categories=categories)
        write_records(panoptic, parts.folder, content)
        instances = (record for part in parts.read(samples) for record in part['instances'])
        # pycocotools takes the id 0 for 'no match'
        numbered = (dict(record, id=n) for n, record in enumerate(instances, 1))
        things = [categories[label] for label in THINGS]
        content = dict(images=images, annotations=numbered, categories=things)
        write_records(instance, parts.folder, content)
