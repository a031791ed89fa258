"""The writers of result files as metrics, so that a test run can name them in its config."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmdet.registry import METRICS
from mmengine.logging import print_log
from typing_extensions import override

from ..metainfo import is_thing
from .data_sample import (
    image_name,
    image_stem,
    read_instances,
    read_map,
    read_segments,
)
from .image_metric import ImageMetric
from .writers import InstanceWriter, PanopticWriter, ResultImage, ResultWriter, SemanticWriter

_READERS = dict(
    panoptic=lambda sample, meta: read_segments(sample, len(meta['classes'])),
    instance=lambda sample, meta: read_instances(sample, is_thing(meta)),
    semantic=lambda sample, meta: [read_map(sample, 'pred_sem_seg')],
)


class ResultFiles(ImageMetric):
    """A writer as a metric without numbers; the first process writes the JSON for all.

    Args:
        out_dir: Folder to write to. A file there is replaced as a whole.
        options: Further arguments of the writer.
        **kwargs: Arguments of ``BaseMetric``.
    """

    task: str
    writer_type: type[ResultWriter]
    stem_of = staticmethod(image_stem)  # what the results of an image are called: mirrors folders

    def __init__(self, out_dir: str, options: Mapping | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.out_dir = out_dir
        self.options = options or {}
        self.writer: ResultWriter | None = None
        self.stems: set[str] = set()

    @override
    def admit(self, data_sample: dict) -> None:
        """Raise ValueError if several images have one name, and so one result file."""
        stem = self.stem_of(data_sample)
        if stem in self.stems:
            self.refuse_namesakes(stem)
        self.stems.add(stem)

    @override
    def score(self, data_sample: dict) -> tuple[str, Any]:
        """Write the files of an image; returns (name of the result, content for the JSON)."""
        stem = self.stem_of(data_sample)
        image = ResultImage(data_sample['img_id'], image_name(data_sample), stem)
        prediction = _READERS[self.task](data_sample, self.dataset_meta)
        return stem, self.build_writer().write(image, *prediction)

    def build_writer(self) -> ResultWriter:
        """The writer; classes are known only once a run has begun."""
        if self.writer is None:
            self.writer = self.writer_type(self.out_dir, self.dataset_meta, **self.options)
        return self.writer

    def refuse_namesakes(self, stem: str) -> None:
        """Raise ValueError about several images of one name."""
        raise ValueError(
            f'{type(self).__name__}: several images are called {stem}, so that their results '
            'would overwrite each other: list each image once, or write them in separate runs'
        )

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
        self.build_writer().finish([content for _, content in results])
        print_log(
            f'{type(self).__name__}: results of {len(results)} images are in {self.out_dir}',
            logger='current',
        )
        return {}


@METRICS.register_module()
class PanopticFiles(ResultFiles):
    """``PanopticWriter`` as a metric."""

    task = default_prefix = 'panoptic'
    writer_type = PanopticWriter


@METRICS.register_module()
class InstanceFiles(ResultFiles):
    """``InstanceWriter`` as a metric."""

    task = default_prefix = 'instance'
    writer_type = InstanceWriter


@METRICS.register_module()
class SemanticFiles(ResultFiles):
    """``SemanticWriter`` as a metric."""

    task = default_prefix = 'semantic'
    writer_type = SemanticWriter

    def __init__(self, reduce_zero_label: bool = False, **kwargs) -> None:
        super().__init__(options=dict(reduce_zero_label=reduce_zero_label), **kwargs)
