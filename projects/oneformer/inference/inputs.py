"""Inputs of an inferencer as a stream of images: arrays, PIL images, files, videos.

All images are BGR, uint8, of shape (H, W, 3), as mmcv reads them and mmdet's functions expect them.
"""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePath
from typing import TypeAlias

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from PIL import Image

from ..images.image_files import check_pixels
from ..images.notes import SayOnce, image_notes
from ..images.reading import load_image
from ..images.result_names import result_stems
from ..images.rules import DEFAULT, ImageRules
from .given_images import GIVEN, check_array, load_given

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')
_SUFFIXES = IMAGE_SUFFIXES + VIDEO_SUFFIXES

# these state no number of frames: OpenCV computes it from a duration, in which sound may be longer
_ESTIMATED_SUFFIXES = ('.mkv', '.webm', '.mpg', '.mpeg')

Input: TypeAlias = np.ndarray | Image.Image | str | os.PathLike
_KINDS = 'an array, a path, a folder, a glob, a PIL image, or a list of these'


@dataclass(frozen=True)
class Source:
    """An image or a video that has not been read yet.

    Attributes:
        name: Path below the folder that was passed, or the file name.
        stem: Name of its results: the name without suffix, or with it to tell two images apart.
        path: Path of the file, None for an array and a PIL image.
        image: The array or the PIL image, None for a file.
    """

    name: str
    stem: str
    path: Path | None
    image: np.ndarray | Image.Image | None = None

    @property
    def is_video(self) -> bool:
        """Whether it has frames."""
        return self.path is not None and self.path.suffix.lower() in VIDEO_SUFFIXES

    def __str__(self) -> str:
        return str(self.path or self.name)


@dataclass(frozen=True)
class InputImage:
    """An image of an input that has been read.

    Attributes:
        name: Name of its source; for a frame the stem of its video, ``/`` and the number of the
            frame, from ``000000``.
        stem: Name of its results.
        source: Source that it was read from.
        pixels: BGR, uint8, of shape (H, W, 3).
        fps: Frames per second of its video, None for an image.
    """

    name: str
    stem: str
    source: Source
    pixels: np.ndarray
    fps: float | None = None


def files_of_folder(folder: Path) -> list[Path]:
    """Images and videos in a folder and its sub-folders, by name; hidden files are not listed."""
    files = sorted(
        path
        for path in folder.rglob('*')
        if path.is_file() and not any(p.startswith('.') for p in path.relative_to(folder).parts)
    )
    kept = [path for path in files if path.suffix.lower() in _SUFFIXES]
    if not kept:
        raise FileNotFoundError(f'folder {folder} has no image or video ({", ".join(_SUFFIXES)})')
    if len(kept) < len(files):
        print_log(
            f'{folder}: {len(files) - len(kept)} of {len(files)} files are not images or videos '
            'and are left out',
            logger='current',
        )
    return kept


def files_of_glob(pattern: str) -> tuple[Path, list[Path]]:
    """The folder in front of the first wildcard, and the files that match, by name."""
    parts = takewhile(lambda part: not glob.has_magic(part), PurePath(pattern).parts)
    files = sorted(Path(p) for p in glob.glob(pattern, recursive=True) if os.path.isfile(p))
    if not files:
        raise FileNotFoundError(f'no file matches {pattern}')
    folder = Path(*parts)
    # names of results come from what follows the folder
    if '..' in PurePath(pattern).parts[len(folder.parts) :]:
        raise ValueError(f'glob {pattern} has .. behind a wildcard: write the folder in front')
    return folder, files


def list_sources(inputs: Input | Sequence[Input], rules: ImageRules = DEFAULT) -> list[Source]:
    """List the inputs; nothing is read yet.

    Args:
        inputs: An array, a PIL image, a path of an image, video or folder, a glob, or a list of
            these.
        rules: Rules by which images will be read.

    Raises:
        FileNotFoundError: If a path or glob does not lead to a file.
        ValueError: If an array is not an image, a glob has ``..`` behind a wildcard, an input is
            anything else, or there is no input.
    """
    if isinstance(inputs, (*GIVEN, torch.Tensor, str, os.PathLike)):
        inputs = [inputs]
    if not isinstance(inputs, Iterable):
        raise ValueError(f'input {inputs!r} is not an image: give {_KINDS}')
    sources: list[Source] = []
    for given in inputs:
        if isinstance(given, GIVEN):
            sources.append(_given_source(given, len(sources), rules))
            continue
        if isinstance(given, torch.Tensor):
            raise ValueError(
                f'a tensor of {given.dtype} and shape {tuple(given.shape)} is not an image: give '
                'an array of shape (height, width, 3), BGR and uint8'
            )
        if not isinstance(given, (str, os.PathLike)) or given == '' or '\0' in str(given):
            raise ValueError(f'input {given!r} is not an image: give {_KINDS}')
        path = Path(given)
        if path.is_dir():
            folder, files = path, files_of_folder(path)
        elif path.exists():
            folder, files = path.parent, [path]
        elif glob.has_magic(str(given)):
            folder, files = files_of_glob(str(given))
        else:
            raise FileNotFoundError(f'input {given} does not exist')
        for file in files:
            name = file.relative_to(folder).as_posix()
            sources.append(Source(name, os.path.splitext(name)[0], file))
    if not sources:
        raise ValueError(f'no input: give {_KINDS}')
    return tell_apart(sources)


def _given_source(image: np.ndarray | Image.Image, position: int, rules: ImageRules) -> Source:
    """A source that is named after its position."""
    if isinstance(image, np.ndarray):
        check_array(image, rules)
    kind = 'array' if isinstance(image, np.ndarray) else 'image'
    name = f'{kind}_{position:06d}'
    return Source(name, name, None, image)


def tell_apart(sources: Sequence[Source]) -> list[Source]:
    """Name the results of images, and those of videos, by ``result_stems``."""
    stem_of: dict[tuple[str, bool], str] = {}
    for is_video in (False, True):
        names = list({source.name for source in sources if source.is_video == is_video})
        stem_of.update(zip([(name, is_video) for name in names], result_stems(names)))
    return [replace(source, stem=stem_of[source.name, source.is_video]) for source in sources]


def read_images(
    source: Source, rules: ImageRules = DEFAULT, say: SayOnce | None = None
) -> Iterator[InputImage]:
    """Read an image, or a video frame by frame.

    Args:
        source: The image or the video.
        rules: Rules by which an image is read.
        say: Logger of notes on what may be read in another way than meant.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, or not an image or video; for a damaged video, after the
            frames that can be decoded.
    """
    if source.is_video:
        yield from _read_frames(source)
        return
    if source.image is not None:
        loaded = load_given(source.image, source.name, rules)
    else:
        loaded = load_image(str(source.path), 'image', rules)
    if say is not None:
        say(image_notes(loaded, str(source), rules))
    yield InputImage(source.name, source.stem, source, loaded.pixels)


def count_images(sources: Sequence[Source]) -> int:
    """Number of images and frames, for a progress bar; videos state theirs, not always right."""
    return sum([_stated_frames(source.path) if source.is_video else 1 for source in sources])


def _stated_frames(path: Path | None) -> int:
    capture = cv2.VideoCapture(str(path))
    try:
        return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 1)
    finally:
        capture.release()


def _read_frames(source: Source) -> Iterator[InputImage]:
    capture = cv2.VideoCapture(str(source.path))
    try:
        height, width = (
            capture.get(cv2.CAP_PROP_FRAME_HEIGHT),
            capture.get(cv2.CAP_PROP_FRAME_WIDTH),
        )
        check_pixels(int(height), int(width), f'video {source.path}')
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0  # some containers do not state it
        stated = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        number = 0
        while (read := capture.read())[0]:
            name = f'{source.stem}/{number:06d}'
            yield InputImage(name, name, source, read[1], fps)
            number += 1
    finally:
        capture.release()
    if number == 0:
        raise ValueError(f'video {source.path} has no frame that OpenCV can decode')
    estimated = str(source.path).lower().endswith(_ESTIMATED_SUFFIXES)
    tolerance = max(2, fps if estimated else 0)
    if number < stated - tolerance:
        raise ValueError(
            f'video {source.path} is damaged: only {number} of {stated} frames can be decoded: '
            'replace the file'
        )
