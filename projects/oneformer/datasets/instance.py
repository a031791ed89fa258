"""Datasets in COCO instance format: images, and a JSON of polygons or run-length codes."""

from collections.abc import Collection, Mapping, Sequence

from mmdet.registry import DATASETS
from mmengine.logging import print_log

from ..metainfo import resolve_metainfo
from .base import SegmentDataset
from .categories import match_categories
from .entries import AREA, FLAG, ID, WHOLE, complete, some_ids
from .findings import WARNING, Said
from .hidden_pixels import estimate_hidden, rule_text
from .listed_images import images_by_id
from .overlaps import MAX_SEGMENTS, check_overlap_options
from .polygons import Units, as_polygons
from .searched_classes import Searches


@DATASETS.register_module()
class InstanceDataset(SegmentDataset):
    """A dataset in COCO instance format; its labels teach the instance task.

    Only things can be annotated; categories with the alias None are left out. Images without any
    object are kept: they say where nothing is. How many pixels overlaps hide in some of the images
    is logged.

    Args:
        ann_file: The JSON, with a polygon or a run-length code (compressed or not) per object.
        metainfo: See ``SegmentDataset``. Things that the JSON's categories do not name are taken as
            not annotated.
        data_root: Prefix of all paths.
        data_prefix: Folder ``img``.
        ignore: See ``SegmentDataset``.
        overlaps: Rule of what is taught where masks overlap: ``'full'``, each object its whole
            mask, as ``InstanceAP`` scores it; or ``'topmost'``, each pixel to the object on top,
            as the original does, whose instances come from a panoptic map.
        on_top: Rule for which object is on top, where a pixel can have only one (with
            ``overlaps='topmost'``, in the panoptic ground truth, in pictures): the ``'smaller'``,
            the one ``'later'`` or ``'earlier'`` in the JSON, or by class: a list of names from
            bottom to top. Classes that the list leaves out are below; of one class the smaller is
            on top. Crowds are below all others.
        **kwargs: Arguments of mmdet's ``BaseDetDataset``.

    Raises:
        ValueError: If ``overlaps`` or ``on_top`` has another value.
    """

    labels_kind = 'instance'
    tasks = ('instance',)
    folders = ('img',)

    def __init__(
        self,
        *args,
        metainfo: Mapping | str,
        ignore: Collection[str] = ('crowd',),
        overlaps: str = 'full',
        on_top: str | Sequence[str] = 'smaller',
        **kwargs,
    ) -> None:
        metainfo = resolve_metainfo(metainfo)
        self.overlaps = overlaps
        self.on_top = check_overlap_options(overlaps, on_top, metainfo['thing_classes'])
        super().__init__(*args, metainfo=metainfo, ignore=ignore, **kwargs)

    def get_data_info(self, idx: int) -> dict:
        """The sample ``idx``, see ``SegmentDataset``, with ``overlaps`` and ``on_top``."""
        return dict(super().get_data_info(idx), overlaps=self.overlaps, on_top=self.on_top)

    def load_data_list(self) -> list[dict]:
        """Read the JSON.

        Returns:
            Dicts, one for each image: ``img_id``, ``img_path``, ``height``, ``width`` and
            ``segments_info``: dicts with ``id`` (of the annotation), ``label``, ``category`` (its
            name), ``isthing``, ``iscrowd``, ``segmentation`` (as in the JSON), and ``area`` if the
            JSON has it. Where the JSON says what was looked for in an image, also
            ``known_labels`` and ``searched_labels``, see ``SegmentDataset``.

        Raises:
            ValueError: If the JSON is not in COCO instance format. What is wrong with its entries
                is reported.
        """
        content = self.read_json()
        label_of = match_categories(
            content['categories'], self.metainfo, self.ann_file, self.report
        )
        for name, category in self._stuff(label_of):
            self.report_json(
                'instances of stuff',
                category,
                f' annotates instances of {[name]} (category id {category}), which '
                'metainfo.thing_classes does not list: add it there, or take it out of the JSON',
            )
        self.note_categories(content, label_of)
        entries = images_by_id(
            content['images'], self.ann_file, self.report, self.data_prefix['img']
        )
        if not entries:
            raise ValueError(f'{self.ann_file} lists no image')
        images = {n: dict(self.image_of(e), segments_info=[]) for n, e in entries.items()}
        keys, optional = dict(id=ID, image_id=ID, category_id=WHOLE), dict(iscrowd=FLAG, area=AREA)
        seen, units = set(), Units(self.ann_file)
        annotations = complete(
            content['annotations'], keys, 'annotation', self.ann_file, self.report, optional
        )
        for annotation in annotations:
            if self._usable(annotation, images, label_of, seen):
                label = label_of.get(annotation['category_id'])
                if label is None:
                    continue
                entry = entries[annotation['image_id']]
                units.see(annotation['segmentation'], annotation, entry['height'], entry['width'])
                segment = self.segment_of(label, annotation)
                segment['segmentation'] = annotation['segmentation']
                images[annotation['image_id']]['segments_info'].append(segment)
        if finding := units.finding():
            self.report(finding)
        searches = Searches(entries, label_of, self.ann_file, self.report)
        self._note_searches(images, searches, annotations)
        for image in images.values():
            count = len(image['segments_info'])
            if count > MAX_SEGMENTS:
                self.report_json(
                    'too many segments',
                    image['img_id'],
                    f': image id {image["img_id"]} has {count} annotations, more than the '
                    f'{MAX_SEGMENTS} that an image may have: join some, or cut the image',
                )
                del image['segments_info'][MAX_SEGMENTS:]
        if not self.test_mode and isinstance(self.report, Said):  # the checker counts all itself
            self._note_overlaps(list(images.values()))
        return self.note_images(list(images.values()))

    @staticmethod
    def _note_searches(images: Mapping, searches: Searches, annotations: Sequence[Mapping]) -> None:
        """Add to the images which classes were looked for in them, where the JSON says so."""
        if searches:
            for annotation in annotations:
                searches.see(annotation['image_id'], annotation['category_id'])
            for img_id, image in images.items():
                image.update(searches.keys_of(img_id))

    def _note_overlaps(self, images: list[dict]) -> None:
        """Log how many pixels overlaps hide in some of the images."""
        hidden = estimate_hidden(images)
        if hidden.pixels:
            print_log(
                f'{self.ann_file}: in {hidden.overlapped} of {hidden.images} images looked at '
                f'objects overlap, which hides {hidden.share:.1f} % of their pixels. '
                f'{rule_text(self.overlaps, self.on_top)}. oneformer check counts all',
                logger='current',
            )

    def _stuff(self, label_of: Mapping) -> list[tuple[str, int]]:
        """Names and ids of the categories that are stuff."""
        return [
            (self._metainfo['classes'][label], category)
            for category, label in label_of.items()
            if label is not None and not self.is_thing[label]
        ]

    def _usable(self, annotation: Mapping, images: Mapping, label_of: Mapping, seen: set) -> bool:
        """Report what is wrong with an annotation; whether it has an image and a segmentation."""
        number, img_id = annotation['id'], annotation['image_id']
        if annotation['category_id'] not in label_of:
            self.report_json(
                'category not listed',
                number,
                f': annotation {number} has category id {annotation["category_id"]}, which the '
                f'JSON does not list{some_ids(label_of)}: add the category, or correct the '
                'annotation',
            )
        if number in seen:
            message = (
                f': annotation id {number} occurs twice, the second time in image id {img_id}: '
                'give each an id of its own, as pycocotools needs'
            )
            self.report_json('annotation id listed twice', number, message, WARNING)
        seen.add(number)
        if img_id not in images:
            self.report_json(
                'image not listed',
                number,
                f': annotation {number} is of image id {img_id!r}, which the JSON does not list'
                f'{some_ids(images)}: add the image, or remove the annotation',
            )
            return False
        if not annotation.get('segmentation'):
            self.report_json(
                'no segmentation',
                number,
                f': annotation {number} has no segmentation: boxes alone do not tell which pixels '
                'belong to an object, so add polygons or run-length codes, or take the annotation '
                'out',
            )
            return False
        try:
            as_polygons(annotation['segmentation'])
        except ValueError as error:
            message = f': annotation {number} of image id {img_id!r}: {error}'
            self.report_json('wrong segmentation', number, message)
            return False
        return True
