"""``OnnxOneFormer``: an exported model, from images to plain arrays, without torch."""

import logging
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from .decoding import instances, panoptic_map, semantic_map
from .depth import ValueRange
from .description import ModelDescription, Thresholds
from .mask_resize import MaskResize
from .model_json import read_description
from .network import Network
from .notes import LOG, SayOnce, image_notes
from .options import check_count, check_share, check_tasks, choose_thresholds, equal_batches
from .precision_check import equal_labels
from .prediction import Prediction, boxes_of_ids
from .preparing import Prepared, prepare, to_batch
from .rules import ImageRules
from .sources import Input, Source, list_sources

_ALIKE = 0.99  # share of equal labels below which a lower precision is warned about
_LOOKAHEAD = 4  # batches of images held in memory, among which those of equal size are found


class OnnxOneFormer:
    """Predicts one, two or all three tasks from one pass over each image.

    The graph is run by onnxruntime, or by OpenVINO.

    Neither torch nor OpenMMLab is needed. On the same logits it predicts what
    ``oneformer.inference.OneFormerInferencer`` does; where the two best scores of a pixel differ by
    less than 1e-5, either label is right.

    Example:
        >>> model = OnnxOneFormer('exported')
        >>> (prediction,) = model('street.jpg', tasks=['panoptic', 'semantic'])
        >>> prediction.panoptic_map, prediction.segments, prediction.semantic_map

    Args:
        folder: Folder of an exported model: ``model.onnx`` and ``model.json``, see
            ``oneformer_runtime.description``.
        providers: Names of execution providers of onnxruntime, or pairs of a name and options; the
            default is the CPU.
        threads: Threads of the network; the default is the engine's, all cores.
        engine: ``'onnxruntime'`` or ``'openvino'``, which is on the CPU.
        precision: ``'fp32'``, ``'bf16'`` (of openvino, on a processor that has it: it is compared
            with float32 on a generated image, and what differs is logged), or ``'int8'``, if the
            model was exported with it.

    Attributes:
        description: Content of ``model.json``.
        engine: Its name.
        network: The graph; ``network.engine.label`` says what runs it.
        equal_labels: Share of pixels of a generated image with the labels of float32, for bf16;
            else None.

    Raises:
        FileNotFoundError: If the folder or one of its files does not exist.
        DescriptionError: A ValueError: if ``model.json`` is wrong or newer, or does not fit its
            graph.
        ImportError: Without the engine's package.
        ValueError: For a precision that model, engine or processor do not have, a provider that is
            not there, and threads below 1.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        providers: Sequence[Any] | None = None,
        threads: int | None = None,
        engine: str = 'onnxruntime',
        precision: str = 'fp32',
    ) -> None:
        self.description: ModelDescription = read_description(folder)
        self.engine = engine
        self.network = Network(folder, self.description, providers, threads, engine, precision)
        self._is_thing = self.description.is_thing
        self._say = SayOnce()
        self.equal_labels: float | None = None
        if precision == 'bf16':
            exact = Network(folder, self.description, providers, threads, engine)
            settings = self.description.image
            self.equal_labels = equal_labels(self.network, exact, settings)
            level = logging.INFO if self.equal_labels >= _ALIKE else logging.WARNING
            LOG.log(level, _LOW_PRECISION.format(100 * self.equal_labels))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; labels are positions in it."""
        return self.description.classes

    def __call__(
        self, images: Input | Sequence[Input], tasks: str | Sequence[str] | None = None, **options
    ) -> list[Prediction]:
        """Predict, and return all predictions at once; see ``stream`` for the arguments."""
        return list(self.stream(images, tasks, **options))

    def stream(
        self,
        images: Input | Sequence[Input],
        tasks: str | Sequence[str] | None = None,
        *,
        batch: int = 1,
        score_thr: float = 0.3,
        object_mask_thr: float | None = None,
        iou_thr: float | None = None,
        max_per_image: int | None = None,
        orientation: str | None = None,
        value_range: ValueRange | None = None,
    ) -> Iterator[Prediction]:
        """Predict image by image, in the order of the inputs, in bounded memory.

        Images share a batch only if they are padded to the same size on their own, which are looked
        for among the next ``4 * batch`` images; so ``batch`` does not change the predictions.

        Args:
            images: An array (BGR of shape (H, W, 3), uint8, as ``cv2.imread`` returns it, or grey),
                a path of a JPEG, PNG, WebP, BMP, TIFF or PNM, or a list of these.
            tasks: Task words; the default is the model's.
            batch: Images predicted at once.
            score_thr: Instances that score less are left out.
            object_mask_thr: A panoptic segment's class probability has to be above; the default is
                the model's.
            iou_thr: Least share of its own mask that a panoptic segment has to win; the default is
                the model's.
            max_per_image: Number of instances at most; the default is the model's.
            orientation: ``'upright'`` turns images by the EXIF orientation of their files, and
                ``'stored'`` does not; the default is the model's, and else ``'upright'``.
            value_range: Range of images with more than 8 bits that becomes 0 to 255, see
                ``depth.to_eight_bits``; the default is the model's.

        Raises:
            FileNotFoundError: For a path that does not lead to a file.
            ValueError: For unknown tasks, options out of range, and what is not an image.
        """
        asked = self.description.default_tasks if tasks is None else check_tasks(tasks)
        check_count('batch', batch)
        check_share('score_thr', score_thr)
        thresholds = choose_thresholds(
            self.description.thresholds,
            object_mask_thr=object_mask_thr,
            iou_thr=iou_thr,
            max_per_image=max_per_image,
        )
        rules = ImageRules(orientation, value_range).over(self.description.image.rules)
        sources = list_sources(images, rules)
        return self._predictions(sources, rules, batch, asked, thresholds, score_thr)

    def _predictions(
        self, sources: Sequence[Source], rules: ImageRules, batch: int, *wanted: Any
    ) -> Iterator[Prediction]:
        """Predictions in order, each as soon as those before it are there."""
        waiting = iter(sources)
        window_size = _LOOKAHEAD * batch if batch > 1 else 1
        while window := list(islice(waiting, window_size)):
            inputs = [self._read(source, rules) for source in window]
            done: dict[int, Prediction] = {}
            upcoming = 0
            for indices in equal_batches([image.padded for image in inputs], batch):
                found = self.predict([inputs[k] for k in indices], *wanted)
                for k, fields in zip(indices, found):
                    source = window[k]
                    done[k] = Prediction(source.name, source.path, names=self.classes, **fields)
                while upcoming in done:
                    yield done.pop(upcoming)
                    upcoming += 1

    def _read(self, source: Source, rules: ImageRules) -> Prepared:
        loaded = source.load(rules)
        self._say(image_notes(loaded, source.path or source.name, rules))
        return prepare(loaded.pixels, self.description.image)

    def predict(
        self,
        images: Sequence[Prepared],
        tasks: Sequence[str],
        thresholds: Thresholds,
        score_thr: float = 0.0,
    ) -> list[dict]:
        """Predict images that are padded to one size, in one pass.

        Args:
            images: The images, see ``preparing.prepare``.
            tasks: Task words.
            thresholds: Thresholds of panoptic segments, and the number of instances.
            score_thr: Instances that score less are left out.

        Returns:
            For each image fields of a ``Prediction``, of the tasks that are asked.
        """
        word_of = {task: self.description.token or task for task in tasks}
        words = list(dict.fromkeys(word_of.values()))
        scores, masks = self.network(to_batch(images, self.description.image), words)
        found = []
        for image, own_scores, own_masks in zip(images, scores, masks):
            resize = MaskResize(own_masks.shape[-2:], image.padded, image.content, image.size)
            fields: dict = {}
            for task, word in word_of.items():
                t = words.index(word)
                outputs = own_scores[t], own_masks[t], resize
                fields.update(self._decode(task, outputs, thresholds, score_thr))
            found.append(fields)
        return found

    def _decode(
        self,
        task: str,
        outputs: tuple[np.ndarray, np.ndarray, MaskResize],
        limits: Thresholds,
        score_thr: float,
    ) -> dict:
        """Fields of a ``Prediction`` of a task."""
        if task == 'semantic':
            return dict(semantic_map=semantic_map(*outputs))
        if task == 'instance':
            found = instances(*outputs, self._is_thing, limits.max_per_image, score_thr)
            if score_thr and len(found['labels']) >= limits.max_per_image:
                self._say({'full': _FULL.format(limits.max_per_image)})
            return found
        id_map, segments = panoptic_map(
            *outputs, self._is_thing, limits.object_mask_thr, limits.iou_thr
        )
        for segment, box in zip(segments, boxes_of_ids(id_map, len(segments))):
            segment.update(bbox=box, category=self.classes[segment['label']])
        return dict(panoptic_map=id_map, segments=segments)


_LOW_PRECISION = (
    'precision bf16: of a generated image {:.4g} % of the pixels have the labels of fp32. Compare '
    'the predictions for images of yours before relying on it'
)
_FULL = (
    'an image has {} confident instances, which is max_per_image: it may show more. Raise it; '
    'there are no more queries than the model was trained with'
)
