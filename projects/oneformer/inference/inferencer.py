"""``OneFormerInferencer``: from images, folders and videos to plain arrays and files."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice

import torch
from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.utils import ProgressBar

from oneformer_runtime.depth import ValueRange

from ..host.transfers import fetch_sample
from ..images.notes import SayOnce
from ..images.rules import ImageRules, rules_of_step
from ..results.files import check_formats
from ..results.prediction import (
    Prediction,
    TellOnce,
    keep_confident,
    keep_labels,
    labels_of_names,
    to_prediction,
)
from ..results.target_ids import TargetIds
from .inputs import Input, InputImage, Source, count_images, list_sources, read_images
from .loading import load_any
from .options import check_counts, check_thresholds, equal_batches, given
from .task_choice import choose_tasks
from .writing import PredictionFiles, check_listed, check_places, labels_with_ids, with_category_ids

_LOOKAHEAD = 4  # batches of images held in memory, among which those of equal size are found

Unreadable = Callable[[str, Exception], None]


class OneFormerInferencer:
    """Predicts one, two or all three tasks from one pass over each image.

    Example:
        >>> inferencer = OneFormerInferencer('oneformer_swin-l_ade20k')  # fetches its weights
        >>> (prediction,) = inferencer('street.jpg', tasks=['panoptic', 'semantic'])
        >>> prediction.panoptic_map, prediction.segments, prediction.semantic_map

    Args:
        model: Path of a config, a Config, or the name of a config of the zoo. None takes the config
            of its training, which a checkpoint of training holds: read as data, never run. Of
            weights without one the architecture is read from the shapes; the size of images and the
            thresholds are then those of the dataset with the same classes. Which, is logged.
        weights: File or folder of a checkpoint, URL, id of a repository on the Hugging Face hub, or
            name of a model of the zoo, see ``weights.sources.local_path``. None fetches the
            published weights of a ``model`` that is given by its name in the zoo, once. They are
            read without running what they contain, and have to fit the model exactly. The folder of
            an exported model (``oneformer_runtime``) is run on the CPU, and takes ``engine`` and
            ``precision``, but none of the other arguments.
        device: The default is the first GPU if there is one, and else the CPU.
        trust_pickle: Load weights that are a pickle of more than tensors, such as detectron2's
            ``.pkl``, which may run any code.
        attention: Path of deformable attention: ``'cuda'``, ``'triton'``, ``'torch'``, ``'cpu'``,
            or ``'auto'`` for the fastest that can run on the device. The default is the config's,
            and else ``'auto'``. See ``docs/performance.md``.
        precision: Number format of the network: ``'fp32'``, ``'tf32'`` (a GPU's), ``'bf16'`` or
            ``'fp16'``; predictions are made of its outputs in float32. The default is the config's
            ``model.test_cfg.precision``, and else float32. See ``docs/precision.md``. Exported
            models have ``'fp32'``, ``'bf16'`` (by openvino) and ``'int8'`` (where it was exported).
        engine: What runs an exported model: ``'onnxruntime'``, the default, or ``'openvino'``.

    Attributes:
        dataset_meta: ``classes``, ``thing_classes``, ``palette``: of the checkpoint, or if it names
            none of the config. Labels are positions in ``classes``.
        tasks: Task words that are predicted by default, ``model.test_cfg.tasks`` of the config.

    Raises:
        FileNotFoundError: If the config or the weights do not exist.
        ValueError: Without weights, if they cannot be fetched or read safely, or do not fit; for a
            config of no OneFormer, a device that this machine does not have, and an ``attention``
            or ``precision`` that the device does not have.
    """

    def __init__(
        self,
        model: str | os.PathLike | Config | None = None,
        weights: str | os.PathLike | None = None,
        device: str | torch.device | None = None,
        trust_pickle: bool = False,
        attention: str | None = None,
        precision: str | None = None,
        engine: str | None = None,
    ) -> None:
        self.model, settings, self.dataset_meta = load_any(
            model, weights, device, trust_pickle, attention, precision, engine
        )
        self.tasks = settings.tasks
        with DefaultScope.overwrite_default_scope('mmdet'):
            self.transform = Compose(settings.pipeline[1:])
        self.image_rules = rules_of_step(settings.pipeline[0])
        self.say = SayOnce()

    def __call__(
        self, inputs: Input | Sequence[Input], out_dir: str | os.PathLike | None = None, **kwargs
    ) -> list[Prediction]:
        """Predict, and return all predictions at once; see ``stream`` for the arguments."""
        return list(self.stream(inputs, out_dir, **kwargs))

    def stream(
        self,
        inputs: Input | Sequence[Input],
        out_dir: str | os.PathLike | None = None,
        *,
        tasks: str | Sequence[str] | None = None,
        classes: str | Sequence[str] | None = None,
        score_thr: float = 0.3,
        object_mask_thr: float | None = None,
        iou_thr: float | None = None,
        max_per_image: int | None = None,
        batch_size: int = 1,
        frames: bool = False,
        formats: str | Sequence[str] = (),
        ann_file: str | os.PathLike | None = None,
        orientation: str | None = None,
        value_range: ValueRange | None = None,
        on_unreadable: Unreadable | None = None,
        progress: bool = True,
    ) -> Iterator[Prediction]:
        """Predict image by image, in the order of the inputs, in bounded memory.

        ``batch_size`` does not change the predictions: the model does not mask padding, so images
        share a batch only if they are padded to the same size on their own. Such are looked for
        among the next ``4 * batch_size`` images.

        Args:
            inputs: An array (BGR of shape (H, W, 3), as ``cv2.imread`` returns it, or grey), a PIL
                image, a path of an image, video or folder (with its sub-folders), a glob, or a list
                of these.
            out_dir: Write files here, see ``PredictionFiles``. They are complete when the last
                prediction has been taken.
            tasks: Task words; the default is the config's ``model.test_cfg.tasks``.
            classes: Names of the classes to keep; the predictions of others are left out. Case,
                hyphens and underscores do not matter, and other names count: ``road`` is ``road,
                route``, and ``tree`` is ``tree-merged``.
            score_thr: Instances that score less are left out.
            object_mask_thr: A panoptic segment's class probability has to be above; the default is
                the config's.
            iou_thr: Least share of its own mask that a panoptic segment has to win; the default is
                the config's.
            max_per_image: Number of instances at most; the default is the config's, or else as
                many as there are queries. An image that has as many is told of, once.
            batch_size: Images predicted at once.
            frames: Whether PNGs and JSON entries of the frames of videos are written too, not only
                the drawn videos.
            formats: Further formats of the objects, one or several of ``'coco'``, ``'labelme'`` and
                ``'yolo'``: the instances, or where these were not asked the panoptic segments, or
                else a region per class.
            ann_file: A JSON in COCO format. Result files have its ids and file names of images,
                and its ids and names of categories.
            orientation: ``'upright'`` turns images by the EXIF orientation of their files, and
                ``'stored'`` does not; results have the same frame. The default is the config's, and
                else ``'upright'``.
            value_range: Range of images with more than 8 bits that becomes 0 to 255, see
                ``images.depth.to_eight_bits``; the default is the config's.
            on_unreadable: Called with the name and the error of a file that cannot be read, which
                is then left out; of a damaged video the frames that can be decoded are predicted.
                Without it the error is raised.
            progress: Show a progress bar on stderr.

        Raises:
            FileNotFoundError: For a path or glob that does not lead to a file.
            ValueError: For unknown tasks, classes and formats, a file that cannot be read, results
                that would overwrite each other, and what ``ann_file`` does not list.
        """
        tasks = choose_tasks(tasks, self.tasks, len(self.dataset_meta['classes']))
        thresholds = given(object_mask_thr=object_mask_thr, iou_thr=iou_thr)
        counts = given(max_per_image=max_per_image)
        check_thresholds(score_thr=score_thr, **thresholds)
        check_counts(batch_size=batch_size, **counts)
        test_cfg = {**thresholds, **counts}
        labels = None
        if classes is not None:
            classes = [classes] if isinstance(classes, str) else classes
            labels = labels_of_names(classes, self.dataset_meta)
        rules = ImageRules(orientation, value_range).over(self.image_rules)
        sources = list_sources(inputs, rules)
        formats = check_formats(formats)
        meta, ids = self._named(ann_file, out_dir is not None)
        if ids is not None:
            check_listed(sources, ids, labels_with_ids(meta, labels, tasks, formats), frames)
        files = None
        if out_dir is not None:
            check_places(sources, out_dir, frames)
            files = PredictionFiles(out_dir, tasks, meta, frames, formats, ids, rules)
        elif formats:
            raise ValueError(f'formats {formats} are of files: give a folder for them as out_dir')

        told = TellOnce()
        most = counts.get('max_per_image', self.model.test_cfg['max_per_image'])

        def finish(sample: DetDataSample) -> DetDataSample:
            told.if_full(sample, score_thr, most)
            if labels is not None:
                keep_labels(sample, labels, len(self.dataset_meta['classes']))
            keep_confident(sample, score_thr)
            return fetch_sample(sample)

        def predictions() -> Iterator[Prediction]:
            images = self._read(sources, rules, on_unreadable)
            bar = ProgressBar(count_images(sources), file=sys.stderr) if progress else None
            with files or nullcontext():
                predicted = self._predictions(
                    images, batch_size, dict(test_cfg, tasks=tasks), finish
                )
                for image, sample in predicted:
                    path = None if image.source.path is None else str(image.source.path)
                    prediction = to_prediction(sample, meta, image.name, path)
                    if files is not None:
                        files.add(image, sample, prediction)
                    if bar is not None:
                        bar.update()
                    yield prediction
            if bar is not None:
                print(file=sys.stderr)

        return predictions()

    def _named(
        self, ann_file: str | os.PathLike | None, tell: bool
    ) -> tuple[dict, TargetIds | None]:
        """The classes with what result files call them, and the ids of a JSON if one is given."""
        if ann_file is None:
            return with_category_ids(self.dataset_meta, tell), None
        ids = TargetIds(ann_file, self.dataset_meta)
        return ids.dataset_meta, ids

    def _read(
        self, sources: Sequence[Source], rules: ImageRules, on_unreadable: Unreadable | None
    ) -> Iterator[InputImage]:
        for source in sources:
            try:
                yield from read_images(source, rules, self.say)
            except (OSError, ValueError) as error:
                if on_unreadable is None:
                    raise
                on_unreadable(str(source), error)

    def _predictions(
        self,
        images: Iterator[InputImage],
        batch_size: int,
        test_cfg: dict,
        finish: Callable[[DetDataSample], DetDataSample],
    ) -> Iterator[tuple[InputImage, DetDataSample]]:
        """Images with their finished predictions, in order, each as soon as those before it are."""
        window_size = _LOOKAHEAD * batch_size if batch_size > 1 else 1
        while window := list(islice(images, window_size)):
            packed = [self._pack(image) for image in window]
            sizes = [self._padded_size(sample['inputs']) for sample in packed]
            predicted: dict[int, DetDataSample] = {}
            upcoming = 0
            for indices in equal_batches(sizes, batch_size):
                samples = self._predict([packed[index] for index in indices], test_cfg)
                predicted.update(zip(indices, map(finish, samples)))
                while upcoming in predicted:
                    yield window[upcoming], predicted.pop(upcoming)
                    upcoming += 1

    def _padded_size(self, image: torch.Tensor) -> tuple[int, int]:
        """(height, width) of an input of the model after padding on its own."""
        divisor = self.model.data_preprocessor.pad_size_divisor
        height, width = (-(-side // divisor) * divisor for side in image.shape[1:])
        return height, width

    def _pack(self, image: InputImage) -> dict:
        """The input of the model, by the transforms that follow the loading."""
        size = image.pixels.shape[:2]
        path = str(image.source.path or image.name)
        packed = self.transform(
            dict(img=image.pixels, img_path=path, img_id=image.stem, img_shape=size, ori_shape=size)
        )
        packed['data_samples'].set_metainfo(dict(image_name=image.name, image_stem=image.stem))
        return packed

    @torch.no_grad()
    def _predict(self, packed: Sequence[dict], test_cfg: dict) -> list[DetDataSample]:
        default = self.model.test_cfg
        self.model.test_cfg = {**default, **test_cfg}
        try:
            return self.model.test_step(
                dict(
                    inputs=[sample['inputs'] for sample in packed],
                    data_samples=[sample['data_samples'] for sample in packed],
                )
            )
        finally:
            self.model.test_cfg = default
