"""A model of torch in the server of ``oneformer_runtime.serving``."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from oneformer_runtime.description import Thresholds
from oneformer_runtime.serving.predictors import Facts, Options

from ..panoptic_codes import check_codes
from ..tasks import TASKS
from .inferencer import OneFormerInferencer


class TorchPredictor:
    """An inferencer as a ``oneformer_runtime.serving.Predictor``.

    Args:
        inferencer: The inferencer, which predicts one image at a time.
        name: Name of the model for clients.
    """

    is_parallel = False

    def __init__(self, inferencer: OneFormerInferencer, name: str = '') -> None:
        self.inferencer = inferencer
        self.rules = inferencer.image_rules
        meta, limits = inferencer.dataset_meta, inferencer.model.test_cfg
        self.facts = Facts(
            'torch',
            tuple(meta['classes']),
            tuple(meta['thing_classes']),
            _palette(meta),
            Thresholds(limits['object_mask_thr'], limits['iou_thr'], limits['max_per_image']),
            tasks=_possible_tasks(len(meta['classes'])),
            default_tasks=tuple(inferencer.tasks),
            name=name,
        )

    def __call__(self, pixels: np.ndarray, options: Options) -> Any:
        """The prediction for an image, see ``oneformer_runtime.serving.Predictor``."""
        (prediction,) = self.inferencer(pixels, progress=False, **options.arguments())
        return prediction


def _palette(meta: Mapping) -> list | None:
    """Colours of the classes, None where there are none of each."""
    palette = meta.get('palette')
    if not isinstance(palette, list | tuple) or len(palette) != len(meta['classes']):
        return None
    return [list(map(int, colour)) for colour in palette]


def _possible_tasks(num_classes: int) -> tuple[str, ...]:
    """Tasks that can be predicted with a number of classes."""
    try:
        check_codes(num_classes)
    except ValueError:
        return tuple(task for task in TASKS if task != 'panoptic')
    return tuple(TASKS)
