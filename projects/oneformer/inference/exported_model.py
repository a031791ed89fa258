"""An exported model in the place of a network of torch: the inferencer's files from the same runs.

``oneformer_runtime`` resizes, predicts and decodes; results become data samples here, for the
visualizer and the writers.
"""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample, SampleList
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.structures import InstanceData, PixelData

from oneformer_runtime.description import Thresholds
from oneformer_runtime.onnx_oneformer import OnnxOneFormer
from oneformer_runtime.options import equal_batches
from oneformer_runtime.preparing import prepare

from ..panoptic_codes import segment_code
from .settings import Settings


class ExportedModel:
    """Stands for a ``OneFormer`` in the inferencer.

    Args:
        folder: Folder of the exported model.
        engine: See ``OnnxOneFormer``.
        precision: See ``OnnxOneFormer``.
        threads: See ``OnnxOneFormer``.

    Attributes:
        test_cfg: Thresholds and tasks, as those of a ``OneFormer``.
        data_preprocessor: Has ``pad_size_divisor``.
    """

    def __init__(
        self,
        folder: Path,
        engine: str = 'onnxruntime',
        precision: str = 'fp32',
        threads: int | None = None,
    ) -> None:
        self.runtime = OnnxOneFormer(folder, None, threads, engine, precision)
        description = self.runtime.description
        limits = description.thresholds
        self.test_cfg: dict[str, Any] = dict(
            tasks=description.default_tasks,
            object_mask_thr=limits.object_mask_thr,
            iou_thr=limits.iou_thr,
            max_per_image=limits.max_per_image,
        )
        self.data_preprocessor = SimpleNamespace(pad_size_divisor=description.image.divisor)

    def test_step(self, data: Mapping) -> SampleList:
        """Predict a batch of images as they are read, and put the results into their samples.

        Args:
            data: ``inputs``, BGR of shape (3, H, W), uint8, and ``data_samples``.
        """
        settings = self.runtime.description.image
        arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in data['inputs']]
        images = [prepare(array, settings) for array in arrays]
        limits = Thresholds(
            self.test_cfg['object_mask_thr'],
            self.test_cfg['iou_thr'],
            self.test_cfg['max_per_image'],
        )
        for indices in equal_batches([image.padded for image in images], len(images)):
            batch = [images[k] for k in indices]
            for k, fields in zip(indices, self.runtime.predict(batch, self.tasks, limits)):
                self._fill(data['data_samples'][k], fields)
        return data['data_samples']

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks to predict."""
        return tuple(self.test_cfg['tasks'])

    def _fill(self, sample: DetDataSample, fields: dict) -> None:
        """Put what the runtime predicts where a ``OneFormer`` does, see its ``predict``."""
        if 'panoptic_map' in fields:
            segments = fields['segments']
            codes = [len(self.runtime.classes), *map(segment_code, segments)]
            codes = np.array(codes, np.int32)[fields['panoptic_map']]
            sample.pred_panoptic_seg = PixelData(sem_seg=torch.from_numpy(codes)[None])
            sample.pred_panoptic_seg.set_metainfo(dict(segments_info=segments))
        if 'masks' in fields:
            found = dict(bboxes=fields['boxes'], **{k: fields[k] for k in _OF_INSTANCES})
            sample.pred_instances = InstanceData(
                **{name: torch.from_numpy(values) for name, values in found.items()}
            )
        if 'semantic_map' in fields:
            labels = torch.from_numpy(fields['semantic_map'].astype(np.int64))
            sample.pred_sem_seg = PixelData(sem_seg=labels[None])


_OF_INSTANCES = ('labels', 'scores', 'masks')


def load_exported(
    folder: Path, engine: str | None = None, precision: str | None = None, **refused: object
) -> tuple[ExportedModel, Settings, dict]:
    """Load an exported model.

    Args:
        folder: Its folder.
        engine: One of ``oneformer_runtime.engine.ENGINES``; the default is onnxruntime.
        precision: One of ``oneformer_runtime.engine.PRECISIONS``; the default is fp32.
        refused: Options by name that make no sense for it, and their values.

    Returns:
        The model, its settings, and ``classes``, ``thing_classes``, and maybe ``palette`` and
        ``category_ids``.

    Raises:
        FileNotFoundError: If one of its files does not exist.
        ValueError: For options that are given, without the engine, and if it cannot be used.
    """
    for name, value in refused.items():
        if value not in (None, False) and (name, str(value)) != ('device', 'cpu'):
            raise ValueError(
                f'{folder} is an exported model, which {_REASONS[name]}: leave out {name} '
                f'(--{name.replace("_", "-")})'
            )
    try:
        model = ExportedModel(folder, engine or 'onnxruntime', precision or 'fp32')
    except ImportError as error:
        raise ValueError(str(error)) from error
    description = model.runtime.description
    print_log(
        f'{folder}: an exported model, run by {model.runtime.network.engine.label}',
        logger='current',
    )
    rules = description.image.rules.chosen()
    pipeline = [dict(type='LoadPhoto', **rules), dict(type='PackSegmentInputs')]
    meta = dict(classes=description.classes, thing_classes=description.thing_classes)
    for key in ('palette', 'category_ids'):
        if (value := getattr(description, key)) is not None:
            meta[key] = value
    return model, Settings(ConfigDict(), pipeline, description.default_tasks), meta


_REASONS = dict(
    model='holds its own settings',
    device='runs on the CPU here (oneformer_runtime.OnnxOneFormer takes other providers)',
    trust_pickle='is not a pickle',
    attention='has one path of attention',
)
