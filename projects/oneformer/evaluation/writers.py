"""The result files that people submit, written while predicting; they need no ground truth.

Legend: H, W original image size, N instances, K classes.
"""

import logging
import os.path as osp
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.logging import print_log
from typing_extensions import override

from ..datasets.written_ids import fill_numbers
from ..host.safe_io import write_json, write_png
from ..metainfo import is_thing
from ..panoptic_codes import boxes_of_ids, id_picture
from ..run_length import json_code


@dataclass(frozen=True)
class ResultImage:
    """What result files say of an image.

    Attributes:
        img_id: Its id.
        name: Its file name, which may have folders.
        stem: Name of its results, without suffix: folders are mirrored.
    """

    img_id: int | str
    name: str
    stem: str


def category_ids(dataset_meta: Mapping) -> list:
    """The dataset's own category id of each label, None where its JSON has none."""
    if 'category_ids' not in dataset_meta:
        raise ValueError(
            'the dataset has no category ids, so results in COCO format cannot name categories: '
            'use a dataset with a COCO JSON, or leave PanopticFiles and InstanceFiles out of '
            'format_evaluator'
        )
    return list(dataset_meta['category_ids'])


def category_of(label: int, dataset_meta: Mapping) -> int:
    """Category id of a label; ValueError if the dataset's JSON does not list the class."""
    category = category_ids(dataset_meta)[label]
    if category is None:
        raise ValueError(
            f'the prediction has class {dataset_meta["classes"][label]!r}, which the JSON of the '
            'dataset does not list among its categories: add it there'
        )
    return category


def category_name(label: int, dataset_meta: Mapping) -> str:
    """What result files call a class: as the JSON that ids are taken from, else as the model."""
    return (dataset_meta.get('category_names') or dataset_meta['classes'])[label]


class ResultWriter:
    """Base of the writers: files of each image as it comes, and what needs all images at the end.

    Args:
        out_dir: Folder to write to. A file there is replaced as a whole.
        dataset_meta: ``classes``, ``thing_classes``, and ``category_ids`` for results in COCO
            format.
    """

    def __init__(self, out_dir: str, dataset_meta: Mapping) -> None:
        self.out_dir = out_dir
        self.dataset_meta = dataset_meta

    def write(self, image: ResultImage, *prediction):
        """Write the files of an image; returns its part of the JSON."""
        raise NotImplementedError

    def finish(self, contents: Sequence) -> None:
        """Write the JSON of what ``write`` returned for all images; nothing by default."""


class PanopticWriter(ResultWriter):
    """COCO panoptic results: ``panoptic/*.png`` and ``panoptic.json``, with the data's categories.

    Each segment has ``id``, ``category_id``, ``iscrowd`` 0, ``bbox`` (x, y, width, height) and
    ``area`` in pixels, and ``score`` where the prediction has one. The JSON also lists the images
    and categories, so that ``PanopticDataset`` reads it.
    """

    def write(self, image: ResultImage, id_map: np.ndarray, segments: Sequence[Mapping]) -> dict:
        """See the base.

        Args:
            image: The image.
            id_map: Ids of shape (H, W), int32, 0 for void.
            segments: A dict for each id: ``id``, ``label``, ``area`` and maybe ``score``.
        """
        boxes = boxes_of_ids(id_map, [segment['id'] for segment in segments])
        infos = [
            dict(
                id=segment['id'],
                category_id=category_of(segment['label'], self.dataset_meta),
                iscrowd=0,
                bbox=box,
                **{key: segment[key] for key in ('area', 'score') if key in segment},
            )
            for segment, box in zip(segments, boxes)
        ]
        name, (height, width) = f'{image.stem}.png', id_map.shape
        write_png(osp.join(self.out_dir, 'panoptic', name), id_picture(id_map))
        entry = dict(id=image.img_id, file_name=image.name, height=height, width=width)
        annotation = dict(image_id=image.img_id, file_name=name, segments_info=infos)
        return dict(image=entry, annotation=annotation)

    @override
    def finish(self, contents: Sequence[Mapping]) -> None:
        meta, things = self.dataset_meta, is_thing(self.dataset_meta).astype(int).tolist()
        result = dict(
            images=[content['image'] for content in contents],
            annotations=[content['annotation'] for content in contents],
            categories=[
                dict(id=category, name=category_name(label, meta), isthing=things[label])
                for label, category in enumerate(category_ids(meta))
                if category is not None
            ],
        )
        write_json(osp.join(self.out_dir, 'panoptic.json'), result, indent=None)


class InstanceWriter(ResultWriter):
    """COCO instance results, run-length coded: ``instance.json``, with the data's categories."""

    def write(
        self,
        image: ResultImage,
        labels: Iterable[int],
        scores: Iterable[float],
        codes: Iterable[Mapping],
    ) -> list[dict]:
        """See the base.

        Args:
            image: The image.
            labels: Labels of the N instances.
            scores: Scores of the instances.
            codes: Run-length codes of the instances.
        """
        return [
            dict(
                image_id=image.img_id,
                category_id=category_of(label, self.dataset_meta),
                score=score,
                segmentation=json_code(code),
            )
            for label, score, code in zip(labels, scores, codes)
        ]

    @override
    def finish(self, contents: Sequence[list]) -> None:
        records = [record for content in contents for record in content]
        write_json(osp.join(self.out_dir, 'instance.json'), records, indent=None)


class SemanticWriter(ResultWriter):
    """A label PNG per image: ``semantic/*.png``, of 8 bits if the values fit, else of 16.

    The values are those of the dataset's own label PNGs, if it has such (``SemanticDataset``): of
    several that mean one class the one whose name is the class's, else the lowest. Of other
    datasets a value is the label. Label -1 is void, and written as the void of the dataset's PNGs,
    else as the highest value of the type, or as 0 with ``reduce_zero_label``.

    Args:
        *args: Arguments of ``ResultWriter``.
        reduce_zero_label: Write label + 1, as in ADE20K's files, where 0 is void, unless the
            dataset has label PNGs of its own.
    """

    folder = 'semantic'

    def __init__(self, *args, reduce_zero_label: bool = False) -> None:
        super().__init__(*args)
        self.reduce_zero_label = reduce_zero_label
        self.told = False

    def values(self) -> np.ndarray:
        """What to write for each label, int64 (K,)."""
        own = self.dataset_meta.get('label_values')
        if own is None:
            return np.arange(len(self.dataset_meta['classes'])) + self.reduce_zero_label
        void = self.dataset_meta.get('void_value')
        filled, new = fill_numbers(own, () if void is None else [void])
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

    def write(self, image: ResultImage, label_map: np.ndarray) -> None:
        """See the base.

        Args:
            image: The image.
            label_map: Labels of shape (H, W), -1 for void.
        """
        values = self.values()
        has_void = label_map.min() < 0
        dtype = np.uint8 if values.max() + has_void < 256 else np.uint16
        void = self.void_of(values, dtype)
        picture = np.append(values, void).astype(dtype)[label_map]  # -1 is the last
        write_png(osp.join(self.out_dir, self.folder, f'{image.stem}.png'), picture)
