"""Data sets in COCO panoptic format: a JSON, photos, and a PNG of segment ids for each photo."""

import os.path as osp
from collections.abc import Mapping, Sequence

from mmdet.registry import DATASETS
from mmengine.fileio import load
from mmengine.logging import print_log

from .base import SegmentDataset, labels_by_name
from .loading import NUM_IDS


def match_categories(
    categories: Sequence[Mapping], metainfo: Mapping, ann_file: str
) -> dict[int, int]:
    """Map category ids to labels by name, whatever their order in the JSON.

    Args:
        categories: Of the JSON, with ``id``, ``name`` and optionally ``isthing``.
        metainfo: With ``classes``, ``thing_classes`` and optionally ``aliases``, which maps names
            used in JSON files to class names.
        ann_file: The JSON, for messages.

    Returns:
        Category id to label.

    Raises:
        ValueError: For names that are no class, and for a thing that the JSON calls stuff or the
            reverse.
    """
    label_of = labels_by_name([c['name'] for c in categories], metainfo, ann_file)
    labels = {c['id']: label_of[c['name']] for c in categories}
    things = metainfo['thing_classes']
    confused = [
        c['name']
        for c in categories
        if 'isthing' in c and bool(c['isthing']) != (metainfo['classes'][labels[c['id']]] in things)
    ]
    if confused:
        raise ValueError(
            f'{ann_file} and metainfo.thing_classes disagree whether these are things: {confused}'
        )
    return labels


@DATASETS.register_module()
class PanopticDataset(SegmentDataset):
    """A data set in COCO panoptic format; its labels teach all tasks.

    Labels are positions in ``metainfo.classes``, and whether a class is a thing follows from
    ``metainfo.thing_classes``; the order of the JSON's categories does not matter. Classes that the
    JSON does not list are taken as not annotated. Photos without any segment are kept.

    Args:
        ann_file: The JSON. With ``test_mode`` it may lack annotations (a test set).
        metainfo: See ``SegmentDataset``.
        data_root: Prefix of all paths.
        data_prefix: Folders ``img`` and ``seg``.
        ignore: See ``SegmentDataset``. None by default, as in the original, which takes void and
            crowd for background; where people left holes, say ``('void', 'crowd')``.
        filter_cfg: ``dict(without_things=True)`` drops photos without a thing that is no crowd. The
            original does so in training on COCO, but asks COCO's instance annotation, which is not
            needed here. How many are dropped is logged.
        **kwargs: Of mmdet's ``BaseDetDataset``.
    """

    labels_kind = 'panoptic'

    def load_data_list(self) -> list[dict]:
        """Read the JSON.

        Returns:
            For each annotated photo ``img_id``, ``img_path``, ``seg_map_path``, ``height``,
            ``width`` and ``segments_info``: dicts with ``id`` (in the PNG), ``label``, ``category``
            (its name), ``isthing``, ``iscrowd``, and ``area`` if the JSON has it.

        Raises:
            ValueError: If the JSON is not in COCO panoptic format or names what it does not have.
        """
        content = load(self.ann_file)
        if self.test_mode:
            content.setdefault('annotations', None)
        missing = {'images', 'annotations', 'categories'} - set(content)
        if missing:
            raise ValueError(
                f'{self.ann_file} is not in COCO panoptic format: it lacks {sorted(missing)}'
            )
        label_of = match_categories(content['categories'], self.metainfo, self.ann_file)
        self.note_annotated(label_of.values(), self.ann_file)
        category_of = {label: category for category, label in label_of.items()}
        self._metainfo['category_ids'] = tuple(
            category_of.get(label) for label in range(len(self._metainfo['classes']))
        )
        images = {image['id']: image for image in content['images']}
        if content['annotations'] is None:
            return [self._photo(image) for image in images.values()]
        if not content['annotations']:
            raise ValueError(f'{self.ann_file} annotates no photo')
        return [self._parse(annotation, images, label_of) for annotation in content['annotations']]

    def photo_name(self, image: Mapping) -> str:
        """Path of a photo below its folder, of an entry in ``images``."""
        return image['file_name']

    def _photo(self, image: Mapping) -> dict:
        return dict(
            img_id=image['id'],
            img_path=osp.join(self.data_prefix['img'], self.photo_name(image)),
            height=image['height'],
            width=image['width'],
        )

    def _parse(self, annotation: Mapping, images: Mapping, label_of: Mapping) -> dict:
        img_id = annotation['image_id']
        if img_id not in images:
            raise ValueError(f'{self.ann_file} annotates image id {img_id}, which it does not list')
        ids = [segment['id'] for segment in annotation['segments_info']]
        wrong = [i for i in ids if not 0 < i < NUM_IDS or ids.count(i) > 1]
        if wrong:
            raise ValueError(
                f'{self.ann_file}: image id {img_id} has segment ids {sorted(set(wrong))}, which '
                f'are listed twice or not between 1 and {NUM_IDS - 1} (0 is void)'
            )
        segments = []
        for segment in annotation['segments_info']:
            if segment['category_id'] not in label_of:
                raise ValueError(
                    f'{self.ann_file}: segment {segment["id"]} of image id {img_id} has category '
                    f'id {segment["category_id"]}, which the JSON does not list'
                )
            label = label_of[segment['category_id']]
            segments.append(
                dict(
                    id=segment['id'],
                    label=label,
                    category=self._metainfo['classes'][label],
                    isthing=self.is_thing[label],
                    iscrowd=bool(segment.get('iscrowd', False)),
                )
            )
            if 'area' in segment:
                segments[-1]['area'] = segment['area']
        return dict(
            self._photo(images[img_id]),
            seg_map_path=osp.join(self.data_prefix['seg'], annotation['file_name']),
            segments_info=segments,
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
                f'{self.ann_file}: no photo has a thing, so filter_cfg.without_things would leave '
                'none; remove it or correct metainfo.thing_classes'
            )
        print_log(
            f'{self.ann_file}: {len(self.data_list) - len(kept)} of {len(self.data_list)} photos '
            'have no thing and are left out (filter_cfg.without_things)',
            logger='current',
        )
        return kept


@DATASETS.register_module()
class CityscapesPanopticDataset(PanopticDataset):
    """Cityscapes with the panoptic files of cityscapesscripts' ``createPanopticImgs``.

    The JSON misspells its photos' names, and they lie in city folders; so they are built from the
    image id: ``aachen_000000_000019`` is ``aachen/aachen_000000_000019_leftImg8bit.png``.
    """

    def photo_name(self, image: Mapping) -> str:
        """City folder and file name of a photo."""
        city = image['id'].split('_')[0]
        return f'{city}/{image["id"]}_leftImg8bit.png'
