"""Files of objects for annotation tools, written beside the other results on request."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from mmengine.logging import print_log
from PIL import Image
from typing_extensions import override

from ..host.safe_io import write_bytes, write_json
from ..images.orientation import exif_orientation
from ..images.rules import DEFAULT, ImageRules
from .categories import Categories
from .coco import annotation_entries, image_entry
from .labelme import labelme_content
from .objects import choose_task
from .yolo import Losses, data_yaml, yolo_rows

if TYPE_CHECKING:
    from .prediction import Prediction

_SHOWN_BY_LABELME = ('1', 'L', 'P', 'RGB', 'RGBA', 'LA', 'PA')  # modes of Pillow


def shown_alike(path: str | os.PathLike, rules: ImageRules) -> bool:
    """Whether labelme shows the pixels of a file in the frame that they were predicted in.

    It turns JPEGs by their EXIF orientation, and refuses most images of more than 8 bits.
    """
    with Image.open(path) as header:
        if header.mode not in _SHOWN_BY_LABELME:
            return False
        return exif_orientation(header) == 1 or (rules.turns and header.format == 'JPEG')


class ObjectFiles:
    """Base of the writers.

    Args:
        out_dir: Folder of all results.
        tasks: Tasks that are predicted.
        categories: The classes.
        rules: Rules by which images are read.
    """

    format = ''

    def __init__(
        self,
        out_dir: str | os.PathLike,
        tasks: Sequence[str],
        categories: Categories,
        rules: ImageRules = DEFAULT,
    ) -> None:
        self.out_dir = Path(out_dir)
        self.task = choose_task(tasks)
        self.categories = categories
        self.rules = rules
        self.images = 0
        self.without_pixel = 0

    def add(
        self,
        prediction: 'Prediction',
        stem: str,
        pixels: np.ndarray,
        image_id: int | str | None = None,
        file_name: str | None = None,
    ) -> None:
        """Write the prediction of an image.

        Args:
            prediction: Prediction of the image.
            stem: Name of its files, without suffix.
            pixels: BGR, uint8, of shape (H, W, 3).
            image_id: Id in the user's JSON, None for the number of the image.
            file_name: File name in the user's JSON, None for the name of the image.
        """
        self.images += 1
        found = self.write(prediction, stem, pixels, image_id, file_name)
        if self.task == 'instance' and prediction.labels is not None:
            self.without_pixel += len(prediction.labels) - found

    def write(self, prediction, stem, pixels, image_id, file_name) -> int:
        """Write, or keep, the objects of an image; returns their number. See ``add``."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write files that need all images, and log what was lost."""
        if self.without_pixel:
            print_log(
                f'{self.format}: {self.without_pixel} instances without a pixel are left out',
                logger='current',
                level=logging.WARNING,
            )


class CocoFile(ObjectFiles):
    """``coco.json``, a COCO dataset."""

    format = 'coco'

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.entries: list[dict] = []
        self.annotations: list[dict] = []

    @override
    def write(self, prediction, stem, pixels, image_id, file_name) -> int:
        number = self.images if image_id is None else image_id
        self.entries.append(image_entry(prediction, number, file_name or prediction.name))
        found = annotation_entries(prediction, number, len(self.annotations) + 1, self.task)
        self.annotations += found
        return len(found)

    @override
    def finish(self) -> None:
        super().finish()
        content = dict(
            images=self.entries,
            annotations=self.annotations,
            categories=self.categories.entries(only_things=self.task == 'instance'),
        )
        write_json(self.out_dir / 'coco.json', content, indent=None)


class LabelmeFiles(ObjectFiles):
    """``labelme/NAME.json``, with the path of the image from there, or with the image itself."""

    format = 'labelme'

    @override
    def write(self, prediction, stem, pixels, image_id, file_name) -> int:
        path, source = self.out_dir / 'labelme' / f'{stem}.json', prediction.path
        # the name of a frame is not that of its file
        if source is not None and Path(source).name == PurePath(prediction.name).name:
            held = None if shown_alike(source, self.rules) else pixels
            image_path = os.path.relpath(Path(source).resolve(), path.parent.resolve())
        else:
            held, image_path = pixels, f'{PurePath(stem).name}.png'
        content = labelme_content(prediction, image_path, held, self.task)
        write_json(path, content)
        return len(content['shapes'])


class YoloFiles(ObjectFiles):
    """``yolo/labels/NAME.txt``, empty where nothing is found, and ``yolo/data.yaml``."""

    format = 'yolo'

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.losses = Losses()

    @override
    def write(self, prediction, stem, pixels, image_id, file_name) -> int:
        rows = yolo_rows(prediction, self.losses, self.task)
        text = ''.join(f'{row}\n' for row in rows)
        write_bytes(self.out_dir / 'yolo' / 'labels' / f'{stem}.txt', text.encode())
        return len(rows)

    @override
    def finish(self) -> None:
        super().finish()
        text = data_yaml(self.categories.written)
        write_bytes(self.out_dir / 'yolo' / 'data.yaml', text.encode())
        level = logging.WARNING if self.losses.differing else logging.INFO
        print_log(self.losses.describe(), logger='current', level=level)


FORMATS = {writer.format: writer for writer in (CocoFile, LabelmeFiles, YoloFiles)}


def check_formats(formats: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of formats, each once; ValueError for others."""
    names = [formats] if isinstance(formats, str) else list(formats or ())
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise ValueError(f'unknown format {unknown[0]!r}: choose of {", ".join(FORMATS)}')
    return tuple(dict.fromkeys(names))
