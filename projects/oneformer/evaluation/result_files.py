"""The result files that people submit, written while predicting; they need no ground truth.

Legend: H, W original image size, K classes.
"""

import logging
import os.path as osp
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from ..datasets.written_ids import fill_numbers
from ..host.safe_io import write_json, write_png
from ..panoptic_codes import numbered_segments
from ..run_length import json_code
from .data_sample import is_thing, naming_image, read_detections, read_map


def image_name(data_sample: Mapping) -> str:
    """``image_name`` of the sample, which may have folders, else the file name of the image."""
    return data_sample.get('image_name') or osp.basename(data_sample['img_path'])


def image_stem(data_sample: Mapping) -> str:
    """``image_stem`` of the sample, which names its results, else its name without suffix."""
    return data_sample.get('image_stem') or osp.splitext(image_name(data_sample))[0]


def category_ids(dataset_meta: dict) -> list:
    """The dataset's own category id of each label, None where its JSON has none."""
    if 'category_ids' not in dataset_meta:
        raise ValueError(
            'the dataset has no category ids, so results in COCO format cannot name categories: '
            'use a dataset with a COCO JSON, or leave PanopticFiles and InstanceFiles out of '
            'format_evaluator'
        )
    return list(dataset_meta['category_ids'])


def category_of(label: int, dataset_meta: dict) -> int:
    """Category id of a label; ValueError if the dataset's JSON does not list the class."""
    category = category_ids(dataset_meta)[label]
    if category is None:
        raise ValueError(
            f'the prediction has class {dataset_meta["classes"][label]!r}, which the JSON of the '
            'dataset does not list among its categories: add it there'
        )
    return category


def category_name(label: int, dataset_meta: dict) -> str:
    """What result files call a class: as the JSON that ids are taken from, else as the model."""
    return (dataset_meta.get('category_names') or dataset_meta['classes'])[label]


def id_picture(id_map: np.ndarray) -> np.ndarray:
    """RGB picture (H, W, 3), uint8, of segment ids (H, W) in R + 256 G + 65536 B."""
    return np.stack([id_map >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


class ResultFiles(BaseMetric):
    """Base of the writers. Each process writes the files of its images, the first one the JSON.

    Args:
        out_dir: Folder to write to. A file there is replaced as a whole.
        **kwargs: Of ``BaseMetric``.
    """

    def __init__(self, out_dir: str, **kwargs):
        super().__init__(**kwargs)
        self.out_dir = out_dir
        self.stems = set()

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Write the files of these images; keep (name of the result, content for the JSON).

        Raises:
            ValueError: If several images have one name, and so one result file.
        """
        for data_sample in data_samples:
            with naming_image(data_sample):
                stem = self.stem_of(data_sample)
                if stem in self.stems:
                    self.refuse_namesakes(stem)
                self.stems.add(stem)
                self.results.append((stem, self.write(data_sample)))

    def stem_of(self, data_sample: Mapping) -> str:
        """What the results of an image are called, without suffix: folders are mirrored."""
        return image_stem(data_sample)

    def refuse_namesakes(self, stem: str) -> None:
        """Raise ValueError about several images of one name."""
        raise ValueError(
            f'{type(self).__name__}: several images are called {stem}, so that their results '
            'would overwrite each other: list each image once, or write them in separate runs'
        )

    def write(self, data_sample: dict):
        """Write the files of one image; returns its part of the JSON."""
        raise NotImplementedError

    def write_json(self, contents: list) -> None:
        """Write what needs all images; nothing by default."""

    def compute_metrics(self, results: list) -> dict:
        """Finish; there are no numbers.

        Raises:
            ValueError: If several images have one name, and so one result file.
        """
        self.stems.clear()
        # each process has only seen its own images
        for stem, count in Counter(stem for stem, _ in results).items():
            if count > 1:
                self.refuse_namesakes(stem)
        self.write_json([content for _, content in results])
        print_log(
            f'{type(self).__name__}: results of {len(results)} images are in {self.out_dir}',
            logger='current',
        )
        return {}


@METRICS.register_module()
class PanopticFiles(ResultFiles):
    """COCO panoptic results: ``panoptic/*.png`` and ``panoptic.json``, with the data's categories.

    Each segment has ``id``, ``category_id``, ``iscrowd`` 0, ``bbox`` (x, y, width, height) and
    ``area`` in pixels, and ``score`` where the prediction has one. The JSON also lists the images
    and categories, so that ``PanopticDataset`` reads it.
    """

    task = default_prefix = 'panoptic'

    def write(self, data_sample: dict) -> dict:
        num_classes = len(self.dataset_meta['classes'])
        pred_map = read_map(data_sample, 'pred_panoptic_seg')
        found = data_sample['pred_panoptic_seg'].get('segments_info')
        id_map, segments = numbered_segments(pred_map, num_classes, found)
        infos = [
            dict(
                id=segment['id'],
                category_id=category_of(segment['label'], self.dataset_meta),
                iscrowd=0,
                **{key: segment[key] for key in ('bbox', 'area', 'score') if key in segment},
            )
            for segment in segments
        ]
        name = f'{self.stem_of(data_sample)}.png'
        write_png(osp.join(self.out_dir, 'panoptic', name), id_picture(id_map))
        image = dict(
            id=data_sample['img_id'],
            file_name=image_name(data_sample),
            height=pred_map.shape[0],
            width=pred_map.shape[1],
        )
        annotation = dict(image_id=data_sample['img_id'], file_name=name, segments_info=infos)
        return dict(image=image, annotation=annotation)

    def write_json(self, contents: list) -> None:
        result = dict(
            images=[content['image'] for content in contents],
            annotations=[content['annotation'] for content in contents],
            categories=[
                dict(id=category, name=category_name(label, self.dataset_meta), isthing=isthing)
                for label, (category, isthing) in enumerate(
                    zip(
                        category_ids(self.dataset_meta),
                        is_thing(self.dataset_meta).astype(int).tolist(),
                    )
                )
                if category is not None
            ],
        )
        write_json(osp.join(self.out_dir, 'panoptic.json'), result, indent=None)


@METRICS.register_module()
class InstanceFiles(ResultFiles):
    """COCO instance results, run-length coded: ``instance.json``, with the data's categories."""

    task = default_prefix = 'instance'

    def write(self, data_sample: dict) -> list:
        return [
            dict(
                image_id=data_sample['img_id'],
                category_id=category_of(detection['category_id'], self.dataset_meta),
                score=detection['score'],
                segmentation=json_code(detection['segmentation']),
            )
            for detection in read_detections(data_sample, is_thing(self.dataset_meta))
        ]

    def write_json(self, contents: list) -> None:
        records = [record for content in contents for record in content]
        write_json(osp.join(self.out_dir, 'instance.json'), records, indent=None)


@METRICS.register_module()
class SemanticFiles(ResultFiles):
    """A label PNG per image: ``semantic/*.png``, of 8 bits if the values fit, else of 16.

    The values are those of the dataset's own label PNGs, if it has such (``SemanticDataset``): of
    several that mean one class the one whose name is the class's, else the lowest. Of other
    datasets a value is the label. Label -1 is void, and written as the void of the dataset's PNGs,
    else as the highest value of the type, or as 0 with ``reduce_zero_label``.

    Args:
        reduce_zero_label: Write label + 1, as in ADE20K's files, where 0 is void, unless the
            dataset has label PNGs of its own.
        **kwargs: Of ``ResultFiles``.
    """

    task = default_prefix = 'semantic'
    folder = 'semantic'

    def __init__(self, reduce_zero_label: bool = False, **kwargs):
        super().__init__(**kwargs)
        self.reduce_zero_label = reduce_zero_label
        self.told = False

    def values(self) -> np.ndarray:
        """What to write for each label, int64 (K,)."""
        own = self.dataset_meta.get('label_values')
        if own is None:
            return np.arange(len(self.dataset_meta['classes'])) + self.reduce_zero_label
        filled, new = fill_numbers(own, [self.dataset_meta.get('void_value')])
        if new and not self.told:
            self.told = True
            named = [f'{self.dataset_meta["classes"][label]!r}: {filled[label]}' for label in new]
            print_log(
                'the label PNGs of the dataset have no value for some classes, which are written '
                f'as values that are free: {", ".join(named)}',
                logger='current',
                level=logging.WARNING,
            )
        return np.array(filled)

    def void_of(self, values: np.ndarray, dtype: type) -> int:
        """What to write for label -1."""
        own, highest = self.dataset_meta.get('void_value'), np.iinfo(dtype).max
        if own is not None and 0 <= own <= highest and own not in values:
            return own
        return 0 if self.reduce_zero_label and 0 not in values else highest

    def write(self, data_sample: dict) -> None:
        values = self.values()
        labels = read_map(data_sample, 'pred_sem_seg')
        has_void = labels.min() < 0
        dtype = np.uint8 if values.max() + has_void < 256 else np.uint16
        void = self.void_of(values, dtype)
        picture = np.append(values, void).astype(dtype)[labels]  # -1 is the last
        name = f'{self.stem_of(data_sample)}.png'
        write_png(osp.join(self.out_dir, self.folder, name), picture)
