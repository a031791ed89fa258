"""Datasets of label PNGs: images, and a PNG for each whose values are numbers of classes."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from mmdet.registry import DATASETS

from ..images.label_files import NUM_VALUES
from ..images.result_names import name_below, result_stems
from .base import SegmentDataset
from .categories import labels_by_name
from .file_lists import pair_listed
from .file_pairs import Suffixes, make_folders, pair_all
from .findings import Finding, Said
from .label_colors import ColorNames, color_codes, make_label_colors
from .label_sample import judge_some
from .label_values import AUTO, VOID, IgnoreIndex, check_options, png_values
from .mmseg_sets import pairs_of_source, values_of_source
from .written_ids import value_of_label


@DATASETS.register_module()
class SemanticDataset(SegmentDataset):
    """A dataset of label PNGs, or any dataset of mmsegmentation; it teaches the semantic task.

    Args:
        metainfo: See ``SegmentDataset``. Classes that no value of the PNGs means are taken as not
            annotated.
        label_classes: Meaning of the values: names in the order of the values, or a dict from
            value to name; None is void. All classes of ``metainfo`` in their order by default.
        label_colors: Meaning of colours in place of ``label_classes``: a dict from colour,
            (R, G, B) of 0 to 255 each or ``'#rrggbb'``, to name; None is void.
        ann_file: A text file with a name per line, with or without suffix; by default all images
            below the folder are taken.
        data_root: Prefix of all paths.
        data_prefix: Folders ``img`` and ``seg``, which may be one; an image and its PNG have the
            same path below them, but for their suffixes.
        img_suffix: Ending or endings of the images' names; None for all endings of images, such
            as .jpg, .JPG and .png.
        seg_map_suffix: Ending or endings of the PNGs' names; None for all endings of images.
        ignore_index: Value of void; None if there is none; by default 255, unless a dict
            ``label_classes`` says that it is a class.
        reduce_zero_label: Whether value 0 is void and value k means class k - 1, as in ADE20K.
        dataset: Config of a dataset of mmsegmentation, for instance
            ``dict(type='mmseg.PascalVOCDataset', ...)``, in place of the nine arguments above.
        ignore: See ``SegmentDataset``.
        **kwargs: Arguments of mmdet's ``BaseDetDataset``.
    """

    labels_kind = 'semantic'
    tasks = ('semantic',)

    def __init__(
        self,
        *args,
        label_classes: Sequence[str | None] | Mapping[int, str | None] | None = None,
        label_colors: ColorNames | None = None,
        img_suffix: Suffixes = None,
        seg_map_suffix: Suffixes = None,
        ignore_index: IgnoreIndex = AUTO,
        reduce_zero_label: bool = False,
        dataset: Mapping | None = None,
        ignore: Collection[str] = ('void',),
        **kwargs,
    ) -> None:
        if isinstance(label_classes, str):
            raise ValueError(
                f'label_classes is the text {label_classes!r}: write a list of names, '
                f'({label_classes!r},) for a single one'
            )
        if dataset:
            self.folders = ()  # the paths are those of the wrapped dataset
        options = dict(
            label_classes=label_classes is not None,
            label_colors=label_colors is not None,
            img_suffix=img_suffix is not None,
            seg_map_suffix=seg_map_suffix is not None,
            ignore_index=ignore_index != AUTO,
            reduce_zero_label=reduce_zero_label,
        )
        check_options([name for name, given in options.items() if given], bool(dataset))
        self.label_classes, self.label_colors = label_classes, label_colors
        self.img_suffix = img_suffix
        self.ignore_index = ignore_index
        self.reduce_zero_label = reduce_zero_label
        # to serialize no sample at all fails without a reason
        plain = dict(pipeline=[], serialize_data=False)
        self.source = dataset and DATASETS.build({**dataset, **plain})
        super().__init__(*args, seg_map_suffix=seg_map_suffix, ignore=ignore, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the images.

        Returns:
            Dicts, one for each image: ``img_id`` (its path below the folder, without suffix, see
            ``result_names``), ``img_path`` and ``seg_map_path``.

        Raises:
            ValueError: If a folder does not exist or has no images. Names that are not classes, and
                images without a PNG or the reverse, are reported.
        """
        if self.source is not None:
            values, where = values_of_source(self.source), type(self.source).__name__
            pairs = pairs_of_source(self.source)
        else:
            values, where = self._values(), self.data_prefix['seg']
            pairs = self._find_pairs()
        self._note_values(values, where)
        ids = result_stems([name_below(image, self.image_folder) for image, _ in pairs])
        return self.note_images(
            [
                dict(img_id=img_id, img_path=image, seg_map_path=label)
                for img_id, (image, label) in zip(ids, pairs)
            ]
        )

    @property
    def image_folder(self) -> str:
        """The folder below which images have their names."""
        if self.source is None:
            return super().image_folder
        return (getattr(self.source, 'data_prefix', None) or {}).get('img_path') or ''

    def findings_of_teaching(self) -> Iterable[Finding]:
        """Findings about a few label PNGs, before training; the checker looks at all itself."""
        return judge_some(self) if isinstance(self.report, Said) else ()

    def void_by_option(self, values: Collection[int]) -> list[str]:
        """The options that make some of ``values`` void, without those in which they are None."""
        listed = self.label_classes if isinstance(self.label_classes, Mapping) else {}
        options = self._void_options().items()
        return [name for value, name in options if value in values and value not in listed]

    def _void_options(self) -> dict[int, str]:
        """The values that an option makes void, and the option."""
        settings = self if self.source is None else self.source
        index = VOID if settings.ignore_index == AUTO else settings.ignore_index
        options = {0: 'reduce_zero_label=True'} if settings.reduce_zero_label else {}
        return options if index is None else {**options, index: f'ignore_index={index}'}

    def _values(self) -> dict[int, str | None]:
        """Meaning of the values of the PNGs, or with ``label_colors`` of the codes of colours."""
        if self.label_colors is not None:
            return color_codes(self.label_colors)
        classes = self.label_classes or self._metainfo['classes']
        return png_values(classes, self.ignore_index, self.reduce_zero_label)

    def _note_values(self, values: Mapping[int, str | None], where: str) -> None:
        """Remember the segments that all images share, and the meaning of values or colours."""
        names = list(dict.fromkeys(name for name in values.values() if name is not None))
        label_of = labels_by_name(names, self._metainfo, where, self.report)
        self.note_annotated(label_of.values(), where)
        labels = sorted(set(label_of.values()) - {None})
        # a class each; those without pixels in an image make no target
        self.segments_info = [
            self.segment_of(label, dict(id=number)) for number, label in enumerate(labels, start=1)
        ]
        number_of = {label: number for number, label in enumerate(labels, start=1)}
        # a name that is left out or was reported is void, too
        segment_of = {name: number_of.get(label, 0) for name, label in label_of.items()}
        self.segment_of_value, self.color_table = np.full(NUM_VALUES, -1, np.int16), None
        if self.label_colors is not None:
            self.color_table = make_label_colors(values, segment_of)
            return
        for value, name in values.items():
            self.segment_of_value[value] = segment_of.get(name, 0)
        # for result files, see SemanticFiles
        classes, void = self._metainfo['classes'], [v for v, name in values.items() if name is None]
        self._metainfo['label_values'] = value_of_label(values, label_of, classes, where)
        chosen = self._void_options()
        self._metainfo['void_value'] = next((v for v in [*chosen, *void] if v in void), None)

    def get_data_info(self, idx: int) -> dict:
        """The sample ``idx``, with ``segment_of_value``, the meaning of the values of its PNG."""
        return dict(
            super().get_data_info(idx),
            segments_info=self.segments_info,
            segment_of_value=self.segment_of_value,
            label_colors=self.color_table,
        )

    def _find_pairs(self) -> list[tuple[str, str]]:
        """Pairs of image and label image, in the order of ``ann_file`` or else of their names."""
        images, labels = make_folders(self.data_prefix, self.img_suffix, self.seg_map_suffix)
        if self.ann_file:
            return pair_listed(self.ann_file, images, labels, self.report)
        return pair_all(images, labels, self.report)
