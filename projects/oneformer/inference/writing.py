"""Write predictions: overlays, videos, label PNGs, and COCO's panoptic and instance files."""

import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.logging import print_log

from ..datasets.written_ids import fill_numbers
from ..evaluation.mask_codes import encode_masks
from ..evaluation.writers import InstanceWriter, PanopticWriter, ResultImage, SemanticWriter
from ..host.safe_io import replacing, write_bytes
from ..images.rules import DEFAULT, ImageRules
from ..metainfo import is_thing
from ..results.categories import Categories
from ..results.files import FORMATS
from ..results.prediction import Prediction
from ..results.target_ids import TargetIds
from ..visualization import paint_prediction
from .inputs import InputImage, Source

_WRITERS = dict(panoptic=PanopticWriter, instance=InstanceWriter, semantic=SemanticWriter)


def check_places(
    sources: Sequence[Source], out_dir: str | os.PathLike, frames: bool = False
) -> None:
    """Refuse inputs whose results would overwrite each other, or that are results themselves.

    Args:
        sources: All inputs.
        out_dir: Folder of the results.
        frames: Whether frames of videos have results too.

    Raises:
        NotADirectoryError: If ``out_dir`` is a file.
        ValueError: With the names of two inputs of one name, or of one below ``out_dir``.
    """
    folder = Path(out_dir).resolve()
    known: dict[tuple[str, bool], Source] = {}
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f'{out_dir}, where results are written, is a file: give a folder')
    for source in sources:
        key = source.stem, source.is_video
        if key in known:
            raise ValueError(
                f'results of {known[key]} and {source} would both be called {source.stem}: write '
                'them to different folders, in separate runs'
            )
        known[key] = source
        if source.path is not None and folder in source.path.resolve().parents:
            raise ValueError(
                f'input {source} lies in {out_dir}, where results are written: choose another '
                'folder for the results, or hand in fewer files'
            )
    for stem, is_video in known if frames else ():
        video = known.get((os.path.dirname(stem), True))
        if video and not is_video and os.path.basename(stem).isdecimal():
            raise ValueError(
                f'results of {known[stem, False]} and of a frame of {video} may both be called '
                f'{stem}: write them to different folders, in separate runs'
            )


def check_listed(
    sources: Sequence[Source], ids: TargetIds, labels: Collection[int], frames: bool
) -> None:
    """Refuse what a JSON has no ids for, before anything is predicted.

    Args:
        sources: All inputs.
        ids: Ids of the JSON.
        labels: Classes that result files may have to name.
        frames: Whether results of the frames of videos are written.

    Raises:
        ValueError: For images and classes that the JSON does not list, and frames of a video.
    """
    ids.check_classes(labels)
    videos = [source for source in sources if source.is_video]
    if videos and frames:
        raise ValueError(
            f'frames of {videos[0]} have no ids in {ids.ann_file}, which lists files: leave out '
            'either the frames (--frames) or the JSON (--ann-file)'
        )
    ids.check_images([(s.name, s.path) for s in sources if not s.is_video])


def labels_with_ids(
    dataset_meta: Mapping,
    labels: Collection[int] | None,
    tasks: Sequence[str],
    formats: Sequence[str],
) -> list[int]:
    """The classes whose category ids the results of tasks and formats have.

    Args:
        dataset_meta: Dict with ``classes`` and ``thing_classes``.
        labels: Labels that may be predicted, None for all.
        tasks: Tasks that are asked.
        formats: Formats that are asked.
    """
    things = is_thing(dataset_meta)
    labels = range(len(things)) if labels is None else labels
    if 'panoptic' in tasks:
        return list(labels)
    if 'instance' in tasks:
        return [label for label in labels if things[label]]
    return list(labels) if 'coco' in formats else []  # label PNGs have no categories


def with_category_ids(dataset_meta: Mapping, tell: bool = True) -> dict:
    """The classes with the category ids of the JSON of training, or else with labels for ids.

    Classes that this JSON does not list get ids that are free, which is logged.

    Args:
        dataset_meta: Metainfo of the model.
        tell: Whether it is logged.
    """
    ids, classes = dataset_meta.get('category_ids'), dataset_meta['classes']
    if ids is None or len(ids) != len(classes):
        ids = [None] * len(classes)
    filled, new = fill_numbers(ids)
    if tell and 0 < len(new) < len(classes):
        named = ', '.join(f'{classes[label]!r}: {filled[label]}' for label in new)
        print_log(
            'the JSON of training has no category for some classes, which result files give ids '
            f'that are free: {named}',
            logger='current',
            level=logging.WARNING,
        )
    return {**dataset_meta, 'category_ids': filled}


@contextmanager
def _video(path: Path, fps: float, size: tuple[int, int]) -> Iterator[cv2.VideoWriter]:
    """Yield what writes BGR frames of a (width, height) to an MPEG-4, which appears when complete.

    Raises:
        OSError: If OpenCV was built without a video encoder.
    """
    codec = cv2.VideoWriter_fourcc(*'mp4v')
    with replacing(path, ending='.tmp.mp4') as temporary:  # whose ending says the container
        writer = cv2.VideoWriter(str(temporary), codec, fps, size)
        try:
            if not writer.isOpened():
                raise OSError(f'OpenCV cannot write {path}: it has no encoder for mp4v')
            yield writer
        finally:
            writer.release()


def _result_of(prediction: Prediction, task: str) -> tuple:
    """What the writer of a task takes of a prediction."""
    if task == 'panoptic':
        return prediction.panoptic_map, prediction.segments
    if task == 'instance':
        labels, scores = np.asarray(prediction.labels), np.asarray(prediction.scores)
        return labels.tolist(), scores.tolist(), encode_masks(torch.from_numpy(prediction.masks))
    return (prediction.semantic_map,)


class PredictionFiles:
    """Writes the predictions of images as they come, and the JSON files at the end.

    Use it as a context. Each file appears when it is complete, and replaces one of the same name.
    If an error ends the context, the JSON files and the current video are not written.

    Args:
        out_dir: Gets ``overlays/TASK/NAME.jpg`` (``.mp4`` for a video), ``panoptic/NAME.png`` and
            ``panoptic.json``, ``instance.json``, and ``semantic/NAME.png``. NAME is the image's
            without suffix, or with it where another image is called so, and its image id.
        tasks: Task words, the predictions to write.
        dataset_meta: Classes, things, category ids, and maybe a palette.
        frames: Whether PNGs and JSON entries of the frames of videos are written too.
        formats: Names in ``results.files.FORMATS``: write ``coco.json``, ``labelme/NAME.json``, or
            ``yolo/labels/NAME.txt`` and ``yolo/data.yaml`` as well.
        ids: Image ids and file names are taken from here.
        rules: Rules by which images are read.
    """

    def __init__(
        self,
        out_dir: str | os.PathLike,
        tasks: Sequence[str],
        dataset_meta: Mapping,
        frames: bool = False,
        formats: Sequence[str] = (),
        ids: TargetIds | None = None,
        rules: ImageRules = DEFAULT,
    ) -> None:
        self.out_dir = Path(out_dir)
        self.frames = frames
        self.ids = ids
        categories = Categories.of(dataset_meta)
        self.object_files = [FORMATS[name](out_dir, tasks, categories, rules) for name in formats]
        self.writers = {task: _WRITERS[task](str(out_dir), dataset_meta) for task in tasks}
        self.contents: dict[str, list] = {task: [] for task in tasks}
        self.dataset_meta = dataset_meta
        self.video_source: Source | None = None
        self.videos = ExitStack()
        self.video_of: dict[str, cv2.VideoWriter] = {}

    def __enter__(self) -> 'PredictionFiles':
        return self

    def __exit__(self, error_type, *error) -> None:
        self.videos.__exit__(error_type, *error)
        if error_type is None:
            for task, contents in self.contents.items():
                if contents:
                    self.writers[task].finish(contents)
                    print_log(
                        f'{task}: results of {len(contents)} images are in {self.out_dir}',
                        logger='current',
                    )
            for files in self.object_files:
                if files.images:
                    files.finish()

    def add(self, image: InputImage, sample: DetDataSample, prediction: Prediction) -> None:
        """Write the predictions for an image; the frames of a video have to come in their order.

        Args:
            image: What was predicted.
            sample: Sample with the predictions, for the pictures.
            prediction: The same as arrays, for the files.

        Raises:
            ValueError: If the image has another size than the JSON of ids says.
        """
        is_written, own = image.fps is None or self.frames, {}
        if is_written and self.ids is not None:
            entry = self.ids.entry(image.name, image.source.path)
            assert entry is not None, 'check_listed has refused other images'
            self.ids.check_size(entry, image.pixels.shape[:2])
            own = dict(image_id=entry['id'], file_name=entry['file_name'])
        if image.source is not self.video_source:  # the last video is complete
            self.videos.close()
            self.video_source, self.video_of = image.source, {}
        for task in self.writers:
            overlay = paint_prediction(image.pixels[..., ::-1], sample, task, self.dataset_meta)
            overlay = np.ascontiguousarray(overlay[..., ::-1])
            folder = self.out_dir / 'overlays' / task
            if image.fps is None:
                jpeg = cv2.imencode('.jpg', overlay)[1].tobytes()
                write_bytes(folder / f'{image.stem}.jpg', jpeg)
                continue
            if task not in self.video_of:
                path = folder / f'{image.source.stem}.mp4'
                video = _video(path, image.fps, overlay.shape[1::-1])
                self.video_of[task] = self.videos.enter_context(video)
            self.video_of[task].write(overlay)
        if is_written:
            named = ResultImage(
                own.get('image_id', image.stem), own.get('file_name', image.name), image.stem
            )
            for task, writer in self.writers.items():
                self.contents[task].append(writer.write(named, *_result_of(prediction, task)))
            for files in self.object_files:
                files.add(prediction, image.stem, image.pixels, **own)
