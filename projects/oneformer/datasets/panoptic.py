"""Data sets in COCO panoptic format: a JSON, photos, and a PNG of segment ids for each photo."""

import os.path as osp
from collections.abc import Mapping, Sequence

from mmdet.datasets import BaseDetDataset
from mmdet.registry import DATASETS
from mmengine.fileio import load
from mmengine.logging import print_log

from ..metainfo import resolve_metainfo
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
    label_of = {name.strip(): label for label, name in enumerate(metainfo['classes'])}
    for alias, name in metainfo.get('aliases', {}).items():
        label_of[alias] = label_of[name.strip()]
    unknown = [c['name'] for c in categories if c['name'].strip() not in label_of]
    if unknown:
        raise ValueError(
            f'{ann_file} has categories that are not among the {len(metainfo["classes"])} classes '
            f'of the data set: {unknown}. Add them to metainfo.classes, or to metainfo.aliases'
        )
    labels = {c['id']: label_of[c['name'].strip()] for c in categories}
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
class PanopticDataset(BaseDetDataset):
    """A data set in COCO panoptic format.

    Labels are positions in ``metainfo.classes``, and whether a class is a thing follows from
    ``metainfo.thing_classes``; the order of the JSON's categories does not matter. Photos without
    any segment are kept.

    Args:
        ann_file: The JSON.
        metainfo: A dict with ``classes`` and ``thing_classes`` (names), optionally ``palette`` and
            ``aliases``; or the name of a benchmark, see ``metainfo.BENCHMARKS``.
        data_root: Prefix of all paths.
        data_prefix: Folders ``img`` and ``seg``.
        filter_cfg: ``dict(without_things=True)`` drops photos without a thing that is no crowd. The
            original does so in training on COCO, but asks COCO's instance annotation, which is not
            needed here. How many are dropped is logged.
        **kwargs: Of mmdet's ``BaseDetDataset``.
    """

    def __init__(self, *args, metainfo: Mapping | str, **kwargs) -> None:
        super().__init__(*args, metainfo=resolve_metainfo(metainfo), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the JSON.

        Returns:
            For each annotated photo ``img_id``, ``img_path``, ``seg_map_path``, ``height``,
            ``width``, ``classes`` and ``segments_info``: dicts with ``id`` (in the PNG), ``label``,
            ``category`` (its name), ``isthing``, ``iscrowd``.

        Raises:
            ValueError: If the JSON is not in COCO panoptic format or names what it does not have.
        """
        content = load(self.ann_file)
        missing = {'images', 'annotations', 'categories'} - set(content)
        if missing:
            raise ValueError(
                f'{self.ann_file} is not in COCO panoptic format: it lacks {sorted(missing)}'
            )
        label_of = match_categories(content['categories'], self.metainfo, self.ann_file)
        images = {image['id']: image for image in content['images']}
        if not content['annotations']:
            raise ValueError(f'{self.ann_file} annotates no photo')
        return [self._parse(annotation, images, label_of) for annotation in content['annotations']]

    def _parse(self, annotation: Mapping, images: Mapping, label_of: Mapping) -> dict:
        img_id = annotation['image_id']
        if img_id not in images:
            raise ValueError(f'{self.ann_file} annotates image id {img_id}, which it does not list')
        image, classes = images[img_id], self.metainfo['classes']
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
                    category=classes[label],
                    isthing=classes[label] in self.metainfo['thing_classes'],
                    iscrowd=bool(segment.get('iscrowd', False)),
                )
            )
        return dict(
            img_id=img_id,
            img_path=osp.join(self.data_prefix['img'], image['file_name']),
            seg_map_path=osp.join(self.data_prefix['seg'], annotation['file_name']),
            height=image['height'],
            width=image['width'],
            classes=classes,
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
