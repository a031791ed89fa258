"""Datasets in COCO panoptic format: a JSON, images, and a PNG of segment ids for each image."""

import os.path as osp
from collections import Counter
from collections.abc import Mapping, Sequence

from mmdet.registry import DATASETS
from mmengine.logging import print_log

from .base import SegmentDataset
from .categories import match_categories
from .entries import AREA, FILE_NAME, FLAG, ID, LIST, WHOLE, complete, some_ids
from .findings import WARNING
from .label_images import NUM_IDS
from .listed_images import images_by_id
from .overlaps import MAX_SEGMENTS
from .searched_classes import Searches


@DATASETS.register_module()
class PanopticDataset(SegmentDataset):
    """A dataset in COCO panoptic format; its labels teach all tasks.

    Labels are positions in ``metainfo.classes``, and whether a class is a thing follows from
    ``metainfo.thing_classes``; the order of the JSON's categories does not matter. Classes that the
    JSON does not list are taken as not annotated. Segments of a category with the alias None are
    void. Images without any segment are kept.

    Args:
        ann_file: The JSON. With ``test_mode`` it may lack annotations (a test set).
        metainfo: See ``SegmentDataset``.
        data_root: Prefix of all paths.
        data_prefix: Folders ``img`` and ``seg``.
        ignore: See ``SegmentDataset``. None by default, as in the original, which takes void and
            crowd for background; where people left holes, say ``('void', 'crowd')``.
        filter_cfg: ``dict(without_things=True)`` drops images without a thing that is not a crowd.
            The original does so in training on COCO, but asks COCO's instance annotation, which is
            not needed here. How many are dropped is logged.
        **kwargs: Arguments of mmdet's ``BaseDetDataset``.
    """

    labels_kind = 'panoptic'
    _listed_categories: tuple[int, ...] = ()
    filters = ('without_things',)

    def load_data_list(self) -> list[dict]:
        """Read the JSON.

        Returns:
            Dicts, one for each annotated image: ``img_id``, ``img_path``, ``seg_map_path``,
            ``height``, ``width``, ``segments_info``: dicts with ``id`` (in the PNG), ``label``,
            ``category`` (its name), ``isthing``, ``iscrowd``, and ``area`` if the JSON has it; and
            ``void_ids`` of segments whose category is left out. Where the JSON says what was looked
            for in an image, also ``known_labels`` and ``searched_labels``, see ``SegmentDataset``.

        Raises:
            ValueError: If the JSON is not in COCO panoptic format. What is wrong with its entries
                is reported.
        """
        content = self.read_json(optional=('annotations',) if self.test_mode else ())
        label_of = match_categories(
            content['categories'], self.metainfo, self.ann_file, self.report
        )
        self.note_categories(content, label_of)
        self._listed_categories = tuple(label_of)
        images = images_by_id(
            content['images'], self.ann_file, self.report, self.data_prefix['img']
        )
        if content['annotations'] is None:
            return self.note_images([self.image_of(image) for image in images.values()])
        if not content['annotations']:
            raise ValueError(f'{self.ann_file} annotates no image')
        searches = Searches(images, label_of, self.ann_file, self.report)
        annotations = self._one_per_image(content['annotations'], images)
        parsed = [self._parse(one, images, label_of, searches) for one in annotations]
        return self.note_images(parsed)

    def get_data_info(self, idx: int) -> dict:
        """The sample ``idx``, with the JSON's ``category_ids`` to recognise a PNG of categories."""
        return dict(super().get_data_info(idx), category_ids=self._listed_categories)

    def _one_per_image(self, annotations: Sequence[Mapping], images: Mapping) -> list[Mapping]:
        """Annotations of listed images, one for each."""
        keys = dict(image_id=ID, file_name=FILE_NAME, segments_info=LIST)
        of_image = {}
        for annotation in complete(annotations, keys, 'annotation', self.ann_file, self.report):
            img_id = annotation['image_id']
            if img_id not in images:
                self.report_json(
                    'image not listed',
                    img_id,
                    f' annotates image id {img_id!r}, which it does not list{some_ids(images)}: '
                    'add it to its images, or remove the annotation',
                )
            elif of_image.setdefault(img_id, annotation) is not annotation:
                self.report_json(
                    'two annotations of an image',
                    img_id,
                    f' annotates image id {img_id} twice, in {of_image[img_id]["file_name"]} and '
                    f'{annotation["file_name"]}: remove one',
                )
        alone = [img_id for img_id in images if img_id not in of_image]
        if alone:
            message = (
                f' does not annotate {len(alone)} of its {len(images)} images, which are left out; '
                f'the first is image id {alone[0]!r} ({images[alone[0]]["file_name"]}): annotate '
                'them, with an empty segments_info where nothing is to be found'
            )
            self.report_json('image without annotation', alone[0], message, WARNING)
        return list(of_image.values())

    def _parse(
        self, annotation: Mapping, images: Mapping, label_of: Mapping, searches: Searches
    ) -> dict:
        img_id = annotation['image_id']
        keys, optional = dict(id=WHOLE, category_id=WHOLE), dict(iscrowd=FLAG, area=AREA)
        what = f'segment of image id {img_id}'
        infos = complete(
            annotation['segments_info'], keys, what, self.ann_file, self.report, optional
        )
        if len(infos) > MAX_SEGMENTS:
            self.report_json(
                'too many segments',
                img_id,
                f': image id {img_id} has {len(infos)} segments, more than the {MAX_SEGMENTS} that '
                'an image may have: join some, or cut the image',
            )
            infos = infos[:MAX_SEGMENTS]
        counts = Counter(segment['id'] for segment in infos)
        wrong = {i for i, count in counts.items() if not 0 < i < NUM_IDS or count > 1}
        if wrong:
            self.report_json(
                'segment ids',
                img_id,
                f': image id {img_id} has segment ids {sorted(wrong)}, which are listed twice or '
                f'not between 1 and {NUM_IDS - 1} (0 is void): give each segment an id of its own',
            )
        segments, void_ids = [], []
        for segment in {s['id']: s for s in infos if 0 < s['id'] < NUM_IDS}.values():
            if segment['category_id'] not in label_of:
                self.report_json(
                    'category not listed',
                    segment['id'],
                    f': segment {segment["id"]} of image id {img_id} has category id '
                    f'{segment["category_id"]}, which the JSON does not list{some_ids(label_of)}: '
                    'add the category, or correct the segment',
                )
            searches.see(img_id, segment['category_id'])
            label = label_of.get(segment['category_id'])
            if label is None:
                void_ids.append(segment['id'])
            else:
                segments.append(self.segment_of(label, segment))
        return dict(
            self.image_of(images[img_id]),
            seg_map_path=osp.join(self.data_prefix['seg'], annotation['file_name']),
            segments_info=segments,
            void_ids=void_ids,
            **searches.keys_of(img_id),
        )

    def filter_data(self) -> list[dict]:
        """Apply ``filter_cfg``."""
        if self.test_mode or not (self.filter_cfg or {}).get('without_things', False):
            return self.data_list
        kept = [
            data
            for data in self.data_list
            if any(s['isthing'] and not s['iscrowd'] for s in data['segments_info'])
        ]
        if not kept:
            raise ValueError(
                f'{self.ann_file}: no image has a thing, so filter_cfg.without_things would leave '
                'none; remove it or correct metainfo.thing_classes'
            )
        print_log(
            f'{self.ann_file}: {len(self.data_list) - len(kept)} of {len(self.data_list)} images '
            'have no thing and are left out (filter_cfg.without_things)',
            logger='current',
        )
        return kept


@DATASETS.register_module()
class CityscapesPanopticDataset(PanopticDataset):
    """Cityscapes with the panoptic files of cityscapesscripts' ``createPanopticImgs``.

    The JSON misspells its images' names, and they lie in city folders; so they are built from the
    image id: ``aachen_000000_000019`` is ``aachen/aachen_000000_000019_leftImg8bit.png``.
    """

    def image_name(self, image: Mapping) -> str:
        """City folder and file name of an image; ValueError for an id that leads elsewhere."""
        city = str(image['id']).split('_')[0]
        name = f'{city}/{image["id"]}_leftImg8bit.png'
        if not FILE_NAME.fits(name):
            raise ValueError(
                f'{self.ann_file}: image id {image["id"]!r} is none of Cityscapes, which are such '
                'as aachen_000000_000019: correct it'
            )
        return name
