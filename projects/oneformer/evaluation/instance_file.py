"""An official instance file in COCO format, to score against in place of a dataset's labels."""

from collections.abc import Mapping, Sequence

from mmengine.fileio import exists

from ..datasets.categories import match_categories
from ..datasets.coco_files import read_coco
from ..datasets.findings import Said
from ..datasets.searched_classes import Known, Searches
from ..metainfo import is_thing
from ..run_length import code_area, encode_segmentation


def encode_annotation(annotation: Mapping, height: int, width: int) -> dict:
    """The ``segmentation`` of a COCO annotation as run-length code, and its ``area``.

    The area is the one that the annotation states, else that of the mask.

    Args:
        annotation: Dict with ``id`` and ``segmentation``: polygons or a run-length code,
            compressed or not.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Raises:
        ValueError: If a code has another size than the image, or it is not a segmentation.
    """
    try:
        code = encode_segmentation(annotation['segmentation'], height, width)
    except ValueError as error:
        raise ValueError(f'annotation {annotation["id"]}: {error}') from error
    return dict(segmentation=code, area=annotation.get('area', code_area(code)))


def plain_id(img_id: int | str) -> int | str:
    """An image id in one form, for comparison: 139, '139' and '000000000139' are the same image."""
    return int(img_id) if str(img_id).isdigit() else str(img_id)


def _read_images(ann_file: str, dataset_meta: Mapping, first_id: int) -> dict[int | str, dict]:
    """The images of an ``InstanceFile`` by ``plain_id``; ``category_id`` in them is the label."""
    if not exists(ann_file):
        raise FileNotFoundError(
            f'instance file {ann_file} does not exist: check InstanceAP.ann_file'
        )
    said = Said()
    content = read_coco(ann_file, 'instance', said, {}, what='instance file')
    said.say()
    label_of = match_categories(content['categories'], dataset_meta, ann_file)
    things = is_thing(dataset_meta)
    left_out = {number for number, label in label_of.items() if label is None}
    stuff = [
        c['name']
        for c in content['categories']
        if c['id'] not in left_out and not things[label_of[c['id']]]
    ]
    if stuff:
        raise ValueError(
            f'{ann_file} has instances of {stuff}, which are not in metainfo.thing_classes'
        )
    images = {
        plain_id(image['id']): dict(height=image['height'], width=image['width'], annotations=[])
        for image in content['images']
    }
    for number, annotation in enumerate(content['annotations'], first_id):
        for key, listed in (
            ('image_id', plain_id(annotation['image_id']) in images),
            ('category_id', annotation['category_id'] in label_of),
        ):
            if not listed:
                raise ValueError(
                    f'{ann_file}: annotation {annotation["id"]} has {key} {annotation[key]!r}, '
                    'which the JSON does not list'
                )
        label = label_of[annotation['category_id']]
        if label is None:  # an alias leaves the category out, as in the dataset
            continue
        record = {**annotation, 'number': number, 'category_id': label}
        images[plain_id(annotation['image_id'])]['annotations'].append(record)
    entries = {plain_id(image['id']): image for image in content['images']}
    searches = Searches(entries, label_of, ann_file, said)
    _note_known(images, content['annotations'], searches)
    said.say()
    return images


def _note_known(images: Mapping, annotations: Sequence[Mapping], searches: Searches) -> None:
    """Add to the images the classes that they were searched for."""
    if searches:
        for annotation in annotations:
            searches.see(plain_id(annotation['image_id']), annotation['category_id'])
    for number, image in images.items():
        image['known'] = searches.known_of(number)


class InstanceFile:
    """Annotations of an official file, found by the ids of images.

    Args:
        ann_file: The JSON.
        dataset_meta: Metainfo with ``classes``, ``thing_classes`` and optionally ``aliases``.
        first_id: Number of the first annotation; the others follow in the order of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not in COCO instance format, uses ids that it does not list, or has
            categories that are not among the thing classes.
    """

    def __init__(self, ann_file: str, dataset_meta: Mapping, first_id: int) -> None:
        self.ann_file = ann_file
        self.images = _read_images(ann_file, dataset_meta, first_id)

    def __len__(self) -> int:
        return len(self.images)

    def known_of(self, data_sample: dict) -> Known | None:
        """The classes that the file covers in the sample's image; None if it does not say."""
        return self.images[plain_id(data_sample['img_id'])]['known']

    def annotations_of(self, data_sample: dict) -> list:
        """Annotations of the sample's image, run-length coded.

        Raises:
            ValueError: If the file has no such image, or one of another size.
        """
        image = self.images.get(plain_id(data_sample['img_id']))
        if image is None:
            known = ', '.join(map(repr, list(self.images)[:3]))
            raise ValueError(
                f'{self.ann_file} has no image of id {data_sample["img_id"]!r}; its '
                f'{len(self.images)} ids are like {known}: is it of this dataset and split?'
            )
        size = image['height'], image['width']
        if size != tuple(data_sample['ori_shape'][:2]):
            raise ValueError(
                f'{self.ann_file} gives the image (height, width) {size}, but it has '
                f'{tuple(data_sample["ori_shape"][:2])}'
            )
        return [
            dict(
                id=annotation['number'],
                category_id=annotation['category_id'],
                iscrowd=int(annotation.get('iscrowd', 0)),
                **encode_annotation(annotation, *size),
            )
            for annotation in image['annotations']
        ]
