"""``model.json``, which stands beside ``model.onnx`` and says what the graph does not.

A folder of an exported model has both. The graph takes ``image``, float32 (B, 3, H, W), RGB of 0 to
255, H and W multiples of ``divisor``, and ``tasks``, int64 (B, T), positions in ``TASKS``. It gives
``class_logits`` (B, T, Q, K + 1), "no object" being the last class, and ``mask_logits``
(B, T, Q, H / 4, W / 4), both float32. Statistics of the input are inside the graph.

Keys of the file, all of them needed but those marked "may be left out":

    format             "oneformer-onnx"
    format_version     1; a reader refuses those above its own
    name, licence      texts; "" where unknown
    model              {"file": name of the graph in the folder, "sha256": of its content}
    classes            names of the K classes, in the order of labels
    thing_classes      those that are things
    palette            colour [R, G, B] of each class, or null
    category_ids       id of each class in result files, null for one without; may be left out
    tasks              ["panoptic", "instance", "semantic"], in the order of the graph's numbers
    default_tasks      those that are predicted unless others are asked for
    token              task word that conditions every prediction; may be left out
    image.short_edge   length in pixels that images are resized to, by Pillow's bilinear filter,
    image.max_size     unless the long edge would be longer than this
    image.divisor      sides are padded to multiples of it, right and below
    image.size         [H, W] of a graph of fixed size, into which images are fitted, else null
    image.padding      RGB of the padding
    image.orientation  "upright", "stored", or null for the default (upright)
    image.value_range  see ``depth.to_eight_bits``, or null for the default
    masks.interpolation  "bilinear": to the padded input, cropped, to the image
    thresholds         object_mask_thr, iou_thr, max_per_image
    versions           of what wrote the file, by name; may be left out
    agreement          how the graph compared with torch when it was written; may be left out
    variants           {"int8": {"file", "sha256", "scores"}}: a quantised graph of the same inputs
                       and outputs in the folder, and its scores beside those of the other; may be
                       left out
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .rules import ImageRules

FORMAT, FORMAT_VERSION = 'oneformer-onnx', 1
FILE_NAME, GRAPH_NAME = 'model.json', 'model.onnx'
VARIANTS = {'int8': 'model_int8.onnx'}
TASKS = ('panoptic', 'instance', 'semantic')  # in the order of the graph's numbers


class DescriptionError(ValueError):
    """A ``model.json`` that cannot be used, or does not fit its graph."""


@dataclass(frozen=True)
class ImageSettings:
    """How an image becomes input of the graph: ``image`` of the file."""

    short_edge: int
    max_size: int
    divisor: int
    padding: tuple[float, float, float]
    size: tuple[int, int] | None = None
    orientation: str | None = None
    value_range: Any = None

    @property
    def rules(self) -> ImageRules:
        """Rules by which image files are read."""
        return ImageRules(self.orientation, self.value_range)


@dataclass(frozen=True)
class Thresholds:
    """``thresholds`` of the file."""

    object_mask_thr: float
    iou_thr: float
    max_per_image: int


@dataclass(frozen=True)
class Variant:
    """Another graph of the model: an item of ``variants`` of the file.

    Attributes:
        graph: Name of the file in the folder.
        sha256: SHA-256 of its content.
        scores: Its scores beside the model's own graph, see ``oneformer.deploy.int8``.
    """

    graph: str
    sha256: str = ''
    scores: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelDescription:
    """The content of a ``model.json``; see above for the meaning of each key."""

    classes: tuple[str, ...]
    thing_classes: tuple[str, ...]
    image: ImageSettings
    thresholds: Thresholds
    palette: tuple[tuple[int, ...], ...] | None = None
    category_ids: tuple[int | None, ...] | None = None
    default_tasks: tuple[str, ...] = TASKS
    token: str | None = None
    name: str = ''
    licence: str = ''
    graph: str = GRAPH_NAME
    sha256: str = ''
    versions: Mapping[str, str] = field(default_factory=dict)
    agreement: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)

    @property
    def is_thing(self) -> np.ndarray:
        """Whether each class is a thing, bool of shape (K,)."""
        return np.array([name in set(self.thing_classes) for name in self.classes], bool)

    def content(self) -> dict:
        """The content of the file."""
        return dict(
            format=FORMAT,
            format_version=FORMAT_VERSION,
            name=self.name,
            licence=self.licence,
            model=dict(file=self.graph, sha256=self.sha256),
            classes=list(self.classes),
            thing_classes=list(self.thing_classes),
            palette=None if self.palette is None else list(map(list, self.palette)),
            category_ids=None if self.category_ids is None else list(self.category_ids),
            tasks=list(TASKS),
            default_tasks=list(self.default_tasks),
            token=self.token,
            image=asdict(self.image),
            masks=dict(interpolation='bilinear'),
            thresholds=asdict(self.thresholds),
            versions=dict(self.versions),
            agreement=dict(self.agreement),
            variants={
                name: dict(file=variant.graph, sha256=variant.sha256, scores=dict(variant.scores))
                for name, variant in self.variants.items()
            },
        )
