"""Data sets of label PNGs: photos, and for each a picture whose values are numbers of classes."""

import os
import os.path as osp
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from mmdet.registry import DATASETS

from ..image_files import read_file
from ..label_files import NUM_VALUES
from ..result_names import name_below, result_stems
from .base import SegmentDataset, labels_by_name
from .entries import FILE_NAME
from .findings import Finding
from .written_ids import value_of_label


def png_values(
    names: Sequence[str | None] | Mapping[int, str | None],
    ignore_index: int,
    reduce_zero_label: bool,
) -> dict[int, str | None]:
    """What each value of a label PNG means.

    Args:
        names: Classes in the order of their values from 0, or by value; None for void.
        ignore_index: The value of void.
        reduce_zero_label: Value 0 is void as well, and the sequence starts with value 1.

    Returns:
        Value to name; None is void.

    Raises:
        ValueError: For what is no value of a PNG, and for values that are both void and a class.
    """
    if not isinstance(names, Mapping):
        names = dict(enumerate(names, start=int(reduce_zero_label)))
    wrong = [value for value in names if value not in range(NUM_VALUES)]
    if wrong:
        raise ValueError(f'label_classes has {wrong}: a PNG holds values of 0 to {NUM_VALUES - 1}')
    void = {ignore_index, 0} if reduce_zero_label else {ignore_index}
    both = {value: names[value] for value in void if names.get(value) is not None}
    if both:
        raise ValueError(
            f'values of label PNGs are a class in label_classes (by default metainfo.classes) and '
            f'void by ignore_index or reduce_zero_label: {both}. Name them None, or correct these'
        )
    return {**names, **dict.fromkeys(void)}


@DATASETS.register_module()
class SemanticDataset(SegmentDataset):
    """A data set of label PNGs, or any data set of mmsegmentation; it teaches the semantic task.

    Args:
        metainfo: See ``SegmentDataset``. Classes that no value of the PNGs means are taken as not
            annotated.
        label_classes: What the values mean: names in the order of the values, or a dict from value
            to name; None is void. All classes of ``metainfo`` in their order by default.
        ann_file: A text file with a name per line, without suffix; by default all photos below the
            folder are taken.
        data_root: Prefix of all paths.
        data_prefix: Folders ``img`` and ``seg``; a photo and its PNG have the same path below them.
        img_suffix: End of the photos' names.
        seg_map_suffix: End of the PNGs' names.
        ignore_index: Value of void.
        reduce_zero_label: Value 0 is void and value k means class k - 1, as in ADE20K's files.
        dataset: Config of a data set of mmsegmentation, for instance
            ``dict(type='mmseg.PascalVOCDataset', ...)``, in place of the eight arguments above.
        ignore: See ``SegmentDataset``.
        **kwargs: Of mmdet's ``BaseDetDataset``.
    """

    labels_kind = 'semantic'
    tasks = ('semantic',)

    def __init__(
        self,
        *args,
        label_classes: Sequence[str | None] | Mapping[int, str | None] | None = None,
        img_suffix: str = '.jpg',
        seg_map_suffix: str = '.png',
        ignore_index: int = 255,
        reduce_zero_label: bool = False,
        dataset: Mapping | None = None,
        ignore: Collection[str] = ('void',),
        **kwargs,
    ) -> None:
        self.label_classes = label_classes
        self.img_suffix = img_suffix
        self.ignore_index = ignore_index
        self.reduce_zero_label = reduce_zero_label
        self.source = dataset and DATASETS.build({**dataset, 'pipeline': []})
        super().__init__(*args, seg_map_suffix=seg_map_suffix, ignore=ignore, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the photos.

        Returns:
            For each image ``img_id`` (its path below the folder, without suffix, see
            ``result_names``), ``img_path`` and ``seg_map_path``.

        Raises:
            ValueError: If a folder does not exist or has no photos. Names that are no class, and
                photos without a PNG or the reverse, are reported.
        """
        if self.source is None:
            values = png_values(
                self.label_classes or self._metainfo['classes'],
                self.ignore_index,
                self.reduce_zero_label,
            )
            photos, where = self._find_pairs(), self.data_prefix['seg']
        else:
            values = self._values_of_source()
            photos = [self.source.get_data_info(i) for i in range(len(self.source))]
            where = type(self.source).__name__
        names = list(dict.fromkeys(name for name in values.values() if name is not None))
        label_of = labels_by_name(names, self._metainfo, where, self.report)
        self.note_annotated(label_of.values(), where)
        self._note_values(values, label_of, where)
        labels = sorted(set(label_of.values()) - {None})
        # all photos share one list of segments, a class each; those without pixels make no target
        self.segments_info = [
            self.segment_of(label, dict(id=number)) for number, label in enumerate(labels, start=1)
        ]
        self.segment_of_value = np.full(NUM_VALUES, -1, np.int16)
        number_of = {label: number for number, label in enumerate(labels, start=1)}
        for value, name in values.items():
            # a name that is left out or was reported is void, too
            self.segment_of_value[value] = number_of.get(label_of.get(name), 0)
        ids = result_stems([name_below(photo['img_path'], self.image_folder) for photo in photos])
        return self.note_images(
            [
                dict(img_id=img_id, img_path=photo['img_path'], seg_map_path=photo['seg_map_path'])
                for img_id, photo in zip(ids, photos)
            ]
        )

    @property
    def image_folder(self) -> str:
        """The folder below which images have their names."""
        if self.source is None:
            return super().image_folder
        return (getattr(self.source, 'data_prefix', None) or {}).get('img_path') or ''

    def get_data_info(self, idx: int) -> dict:
        """The sample ``idx``; ``segment_of_value`` says what the values of its PNG mean."""
        return dict(
            super().get_data_info(idx),
            segments_info=self.segments_info,
            segment_of_value=self.segment_of_value,
        )

    def _note_values(
        self, values: Mapping[int, str | None], label_of: Mapping[str, int | None], where: str
    ) -> None:
        """Remember the values of the PNGs for result files, see ``SemanticFiles``."""
        classes, rules = self._metainfo['classes'], self.source or self
        self._metainfo['label_values'] = value_of_label(values, label_of, classes, where)
        self._metainfo['void_value'] = 0 if rules.reduce_zero_label else rules.ignore_index

    def _find_pairs(self) -> list[dict]:
        """Paths of photos and PNGs, in the order of ``ann_file`` or else of their names."""
        stems = self._listed_stems() if self.ann_file else self._common_stems()
        return [
            dict(
                img_path=osp.join(self.data_prefix['img'], stem + self.img_suffix),
                seg_map_path=osp.join(self.data_prefix['seg'], stem + self.seg_map_suffix),
            )
            for stem in stems
        ]

    def _listed_stems(self) -> list[str]:
        """The lines of ``ann_file``; those that lead out of the folders are reported."""
        try:
            lines = read_file(self.ann_file, 'list of photos').decode().splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(
                f'list of photos {self.ann_file} is no text in UTF-8 ({error}): write a name per '
                'line'
            ) from error
        stems = [stem for stem in map(str.strip, lines) if stem]
        for stem in stems:
            if not FILE_NAME.fits(stem):
                self.report(
                    Finding(
                        'wrong value',
                        f'{self.ann_file}: {stem!r} is not {FILE_NAME.words}: correct it',
                        self.ann_file,
                        stem,
                    )
                )
        return [stem for stem in stems if FILE_NAME.fits(stem)]

    def _common_stems(self) -> list[str]:
        """Paths below the folders without suffix that both have; others are reported."""
        stems = {}
        for key, suffix in (('img', self.img_suffix), ('seg', self.seg_map_suffix)):
            folder = self.data_prefix[key]
            if not osp.isdir(folder):
                raise ValueError(
                    f'{folder} is not a folder: check data_root and data_prefix.{key} of the data '
                    'set'
                )
            stems[key] = {
                osp.relpath(osp.join(parent, name), folder)[: -len(suffix)]
                for parent, _, files in os.walk(folder, followlinks=True)
                for name in files
                if name.endswith(suffix)
            }
        for key, other, kind, suffixes in (
            ('img', 'seg', 'photo without labels', (self.img_suffix, self.seg_map_suffix)),
            ('seg', 'img', 'labels without photo', (self.seg_map_suffix, self.img_suffix)),
        ):
            alone = sorted(stems[key] - stems[other])
            for stem in alone:
                file = osp.join(self.data_prefix[key], stem + suffixes[0])
                self.report(
                    Finding(
                        kind,
                        f'{len(alone)} of {len(stems[key])} files in {self.data_prefix[key]} have '
                        f'no partner in {self.data_prefix[other]}, one is {stem}: {file} needs '
                        f'{osp.join(self.data_prefix[other], stem + suffixes[1])}. Add it, or '
                        'check img_suffix and seg_map_suffix of the data set',
                        file,
                        stem,
                    )
                )
        if not stems['img']:
            raise ValueError(f'{self.data_prefix["img"]} has no file *{self.img_suffix}')
        return sorted(stems['img'] & stems['seg'])

    def _values_of_source(self) -> dict[int, str | None]:
        """What the values mean to the data set of mmsegmentation."""
        source, classes = self.source, self.source.metainfo['classes']
        if source.label_map is None:
            return png_values(classes, source.ignore_index, source.reduce_zero_label)
        names = {
            old + int(source.reduce_zero_label): None
            if new == source.ignore_index
            else classes[new]
            for old, new in source.label_map.items()
        }
        return png_values(names, source.ignore_index, source.reduce_zero_label)
