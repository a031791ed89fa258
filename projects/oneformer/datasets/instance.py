"""Data sets in COCO instance format: photos, and a JSON of polygons or run-length codes."""

import os.path as osp
from collections.abc import Collection, Mapping

from mmdet.registry import DATASETS
from mmengine.fileio import load

from .base import SegmentDataset
from .panoptic import match_categories


@DATASETS.register_module()
class InstanceDataset(SegmentDataset):
    """A data set in COCO instance format; its labels teach the instance task.

    Only things can be annotated. Where masks overlap the smaller one is on top, since a pixel has
    one segment. Photos without any object are kept: they say where nothing is.

    Args:
        ann_file: The JSON, with a polygon or a run-length code (compressed or not) per object.
        metainfo: See ``SegmentDataset``. Things that the JSON's categories do not name are taken as
            not annotated.
        data_root: Prefix of all paths.
        data_prefix: Folder ``img``.
        ignore: See ``SegmentDataset``.
        **kwargs: Of mmdet's ``BaseDetDataset``.
    """

    labels_kind = 'instance'
    tasks = ('instance',)

    def __init__(self, *args, ignore: Collection[str] = ('crowd',), **kwargs) -> None:
        super().__init__(*args, ignore=ignore, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the JSON.

        Returns:
            For each photo ``img_id``, ``img_path``, ``height``, ``width`` and ``segments_info``:
            dicts with ``id`` (of the annotation), ``label``, ``category`` (its name), ``isthing``,
            ``iscrowd``, ``segmentation`` (as in the JSON), and ``area`` if the JSON has it.

        Raises:
            ValueError: If the JSON is not in COCO instance format or names what it does not have.
        """
        content = load(self.ann_file)
        missing = {'images', 'annotations', 'categories'} - set(content)
        if missing:
            raise ValueError(
                f'{self.ann_file} is not in COCO instance format: it lacks {sorted(missing)}'
            )
        label_of = match_categories(content['categories'], self.metainfo, self.ann_file)
        stuff = [c['name'] for c in content['categories'] if not self.is_thing[label_of[c['id']]]]
        if stuff:
            raise ValueError(
                f'{self.ann_file} annotates instances of {stuff}, which metainfo.thing_classes '
                'does not list: add them there, or take them out of the JSON'
            )
        self.note_annotated(label_of.values(), self.ann_file)
        photos = {image['id']: self._photo(image) for image in content['images']}
        if not photos:
            raise ValueError(f'{self.ann_file} lists no photo')
        for annotation in content['annotations']:
            segment = self._segment(annotation, label_of)
            if annotation['image_id'] not in photos:
                raise ValueError(
                    f'{self.ann_file}: annotation {segment["id"]} is of image id '
                    f'{annotation["image_id"]}, which the JSON does not list'
                )
            photos[annotation['image_id']]['segments_info'].append(segment)
        return list(photos.values())

    def _photo(self, image: Mapping) -> dict:
        return dict(
            img_id=image['id'],
            img_path=osp.join(self.data_prefix['img'], image['file_name']),
            height=image['height'],
            width=image['width'],
            segments_info=[],
        )

    def _segment(self, annotation: Mapping, label_of: Mapping[int, int]) -> dict:
        name = f'{self.ann_file}: annotation {annotation.get("id")}'
        if not annotation.get('segmentation'):
            raise ValueError(
                f'{name} has no segmentation: boxes alone do not tell which pixels belong to an '
                'object, so add polygons or run-length codes, or take the annotation out'
            )
        if annotation['category_id'] not in label_of:
            raise ValueError(
                f'{name} has category id {annotation["category_id"]}, which the JSON does not list'
            )
        label = label_of[annotation['category_id']]
        segment = dict(
            id=annotation['id'],
            label=label,
            category=self._metainfo['classes'][label],
            isthing=True,
            iscrowd=bool(annotation.get('iscrowd', False)),
            segmentation=annotation['segmentation'],
        )
        if 'area' in annotation:
            segment['area'] = annotation['area']
        return segment
