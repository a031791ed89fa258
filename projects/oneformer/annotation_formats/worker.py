"""The conversion of one image, which an interrupted run need not do again."""

import hashlib
import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..host.safe_io import replacing
from .annotated import AnnotationSource, Region, SourceImage
from .outputs import Output, Part

_MAX_NAME = 120  # characters of a hidden file


def _stamp(path: Path) -> tuple:
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns


def fingerprint(image: SourceImage) -> str:
    """A hash that changes with the image's files, and with what ``find`` read of them."""
    annotation = image.annotation
    parts = annotation if isinstance(annotation, (tuple, list)) else [annotation]
    files = [part for part in [image.path, *parts] if isinstance(part, Path) and part.exists()]
    content = pickle.dumps((image.name, image.split, annotation, [_stamp(f) for f in files]), 4)
    return hashlib.sha256(content).hexdigest()


class Worker:
    """Converts one image and keeps its part of the result in a hidden folder.

    Args:
        source: Source of the images, after ``find``.
        output: Kind of result.
        folder: The hidden folder.
        background: Name of the class of pixels without a region, or None.
    """

    def __init__(
        self, source: AnnotationSource, output: Output, folder: Path, background: str | None
    ) -> None:
        self.source, self.output, self.folder = source, output, folder
        self.background = background

    def _path(self, image: SourceImage) -> Path:
        name = quote(image.name, safe='')
        if len(name) > _MAX_NAME:
            name = f'{name[:40]}-{hashlib.sha256(image.name.encode()).hexdigest()}'
        return self.folder / f'{name}.json'

    def part(self, image: SourceImage) -> Part | None:
        """The part that an earlier run kept of an image, if its files are still the same."""
        try:
            kept = json.loads(self._path(image).read_bytes())
        except FileNotFoundError:
            return None
        png = self.output.png_of(image.name)
        if kept['fingerprint'] != fingerprint(image) or (png and not png.exists()):
            return None
        return Part(**kept['part'])

    def __call__(self, image: SourceImage) -> None:
        """Convert an image.

        Raises:
            ValueError: If a file is broken; the message names it.
        """
        try:
            annotated = self.source.read(image)
        except OSError as error:
            raise ValueError(f'{error}') from error
        known = {category.name for category in self.source.categories}
        regions = list(annotated.regions)
        unknown = sorted({region.category for region in regions} - known)
        if unknown:
            raise ValueError(f'{image.path} has regions of {unknown}, which are not classes here')
        if self.output.png_folder is None:  # stuff has no place in an instance JSON
            regions = [r for r in regions if r.category in self.output.category_of]
        if self.background:
            whole = np.ones((annotated.height, annotated.width), np.uint8)
            regions.insert(0, Region.of_mask(self.background, whole, order=float('-inf')))
        annotated = replace(annotated, regions=regions)
        part = self.output.part(image, annotated, self.folder)
        kept = dict(fingerprint=fingerprint(image), part=asdict(part))
        with replacing(self._path(image), self.folder) as temporary:
            temporary.write_text(json.dumps(kept))
