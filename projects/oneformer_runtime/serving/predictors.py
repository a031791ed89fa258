"""What the server asks of a model, and an exported model that does it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from ..description import TASKS, Thresholds
from ..onnx_oneformer import OnnxOneFormer
from ..rules import ImageRules

SCORE_THR = 0.3


@dataclass(frozen=True)
class Facts:
    """What clients may know of a model.

    Attributes:
        engine: ``'onnxruntime'``, ``'openvino'`` or ``'torch'``.
        classes: Names of the classes; labels are positions in it.
        thing_classes: Those that are things.
        palette: Colour [R, G, B] of each class, or None.
        tasks: Task words that it can predict.
        default_tasks: Those that are predicted unless others are asked for.
        thresholds: Those that count unless others are asked for.
        name: Name of the model, '' where unknown.
        licence: Its licence, '' where unknown.
    """

    engine: str
    classes: Sequence[str]
    thing_classes: Sequence[str]
    palette: Sequence[Sequence[int]] | None
    thresholds: Thresholds
    tasks: Sequence[str] = TASKS
    default_tasks: Sequence[str] = TASKS
    name: str = ''
    licence: str = ''

    def content(self) -> dict:
        """The facts for JSON."""
        palette = self.palette
        return dict(
            name=self.name,
            licence=self.licence,
            engine=self.engine,
            **self.labels(),
            palette=palette if palette is None else [list(map(int, colour)) for colour in palette],
            tasks=list(self.tasks),
            default_tasks=list(self.default_tasks),
            thresholds=dict(score_thr=SCORE_THR, **asdict(self.thresholds)),
        )

    def labels(self) -> dict:
        """The classes and things for JSON."""
        return dict(classes=list(self.classes), thing_classes=list(self.thing_classes))


@dataclass(frozen=True)
class Options:
    """What a client asks of a prediction; None is the model's own.

    Attributes:
        tasks: Task words.
        score_thr: Instances that score less are left out.
        object_mask_thr: A panoptic segment's class probability has to be above.
        iou_thr: Least share of its own mask that a panoptic segment has to win.
        max_per_image: Number of instances at most.
        orientation: ``'upright'``, ``'stored'``.
    """

    tasks: tuple[str, ...]
    score_thr: float = SCORE_THR
    object_mask_thr: float | None = None
    iou_thr: float | None = None
    max_per_image: int | None = None
    orientation: str | None = None

    def arguments(self) -> dict:
        """Arguments of a model's call, beside the pixels and the orientation."""
        return dict(
            tasks=list(self.tasks),
            score_thr=self.score_thr,
            object_mask_thr=self.object_mask_thr,
            iou_thr=self.iou_thr,
            max_per_image=self.max_per_image,
        )


class Predictor(Protocol):
    """A model that is served.

    Attributes:
        facts: What clients may know.
        rules: Rules by which its images are read.
        is_parallel: Whether several threads may call it at once.
    """

    facts: Facts
    rules: ImageRules
    is_parallel: bool

    def __call__(self, pixels: np.ndarray, options: Options) -> Any:
        """The prediction for an image, with the fields of ``oneformer_runtime.Prediction``.

        Args:
            pixels: BGR, uint8, of shape (H, W, 3).
            options: What is asked, already checked.
        """


class OnnxPredictor:
    """An exported model as a ``Predictor``.

    Args:
        model: The model.
    """

    is_parallel = True

    def __init__(self, model: OnnxOneFormer) -> None:
        self.model = model
        description = model.description
        self.rules = description.image.rules
        self.facts = Facts(
            model.engine,
            description.classes,
            description.thing_classes,
            description.palette,
            description.thresholds,
            default_tasks=description.default_tasks,
            name=description.name,
            licence=description.licence,
        )

    def __call__(self, pixels: np.ndarray, options: Options) -> Any:
        """The prediction for an image, see ``Predictor``."""
        (prediction,) = self.model(pixels, **options.arguments())
        return prediction
