"""Annotations of other tools in one form: images, and the regions that were drawn in them."""

from abc import ABC, abstractmethod
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pycocotools import mask as mask_utils

from ..run_length import encode_mask
from .collecting import Collected


@dataclass(frozen=True)
class Category:
    """A class of the annotations.

    Attributes:
        name: Name as the tool has it; unique.
        is_thing: Whether its objects can be counted; None if the tool does not say.
        color: RGB, 0 to 255, if the tool has one.
    """

    name: str
    is_thing: bool | None = None
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Region:
    """An object, or an area of a class that is not counted.

    Attributes:
        category: Name of its class.
        polygons: Outlines ``[x1, y1, x2, y2, ...]`` in pixels whose union it is, in the frame of
            COCO: the upper left corner of the image is (0, 0), the centre of its first pixel
            (0.5, 0.5). Exactly one of ``polygons`` and ``code`` is given.
        code: Compressed run-length code of COCO, as ``run_length.encode_mask`` makes it.
        crowd: Whether it stands for a group of objects without masks of their own.
        ignored: Whether it is to be neither learned nor scored: a crowd in an instance JSON, and
            pixels without a label elsewhere.
        order: Position in the stack: of two that overlap, the one with the higher number lies
            above, of equal ones the later one.
        where: Words that lead to it in the file, such as "shape 3", for messages.
        extra: Values for its entry in a COCO JSON, such as ``score`` or the tool's own id.
    """

    category: str
    polygons: list[list[float]] | None = None
    code: dict | None = None
    crowd: bool = False
    ignored: bool = False
    order: float = 0
    where: str = ''
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.polygons is None) == (self.code is None):
            raise ValueError('a region has either polygons or a code')

    def encoded(self, height: int, width: int) -> dict:
        """Run-length code of the region in an image of this size."""
        if self.code is not None:
            return self.code
        return mask_utils.merge(mask_utils.frPyObjects(self.polygons, height, width))

    @classmethod
    def of_mask(cls, category: str, mask: np.ndarray, **options) -> 'Region':
        """The region of a mask (H, W)."""
        return cls(category, code=encode_mask(mask), **options)


@dataclass(frozen=True)
class Loss:
    """Something of the source that the converted files will not hold, and why."""

    kind: str  # few words, the same for all of a kind
    message: str


@dataclass(frozen=True)
class AnnotatedImage:
    """What a tool's files say of an image.

    Attributes:
        height: Pixels of the image file.
        width: Pixels of the image file.
        regions: Regions in any order, see ``Region.order``.
        searched: Names of the classes that were looked for; None for all. The others may be in the
            image without a region.
        incomplete: Names of classes of which not all objects have a region.
        losses: Things that were left out knowingly.
    """

    height: int
    width: int
    regions: Sequence[Region]
    searched: Sequence[str] | None = None
    incomplete: Sequence[str] = ()
    losses: Sequence[Loss] = ()


@dataclass(frozen=True)
class SourceImage:
    """An image file and where its annotations are.

    Attributes:
        name: Path below the folder of images, with ``/``; unique in the source.
        path: The image file.
        split: Name of the part that the source puts it into, such as ``train``; None if it does
            not say.
        annotation: Data by which the reader finds the annotations of the image; pickled.
    """

    name: str
    path: Path
    split: str | None = None
    annotation: Any = None


class AnnotationSource(ABC):
    """The files of an annotation tool.

    A reader looks through its files in ``find``, which reads no image, and reads the annotations of
    one image at a time in ``read``, perhaps in another process.

    Args:
        path: File or folder that the user gave.
        options: Values of the format's own command line options.

    Attributes:
        title: Name of the format and its files in a sentence, for ``--help``.
        kinds: Kinds of output that it can give, the usual one first.
    """

    title: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ('instance', 'panoptic', 'semantic')

    def __init__(self, path: Path, **options) -> None:
        self.path, self.options = path, options
        self._folder = path
        self._categories: Sequence[Category] = []
        self._found = Collected()

    @classmethod  # noqa: B027  most have none
    def add_options(cls, parser: ArgumentParser) -> None:
        """Add the format's own options, such as ``--classes``, to its sub-command."""

    @property
    def categories(self) -> Sequence[Category]:
        """Classes in the order of the source, after ``find``."""
        return self._categories

    @property
    def image_folder(self) -> Path:
        """Folder below which images have their names, after ``find``."""
        return self._folder

    @abstractmethod
    def find(self) -> tuple[list[SourceImage], list[str]]:
        """Look for images and annotations.

        Returns:
            The images in a stable order, and what is wrong: sentences that name a file each and say
            what to do. With any of them nothing is converted.
        """

    def notes(self) -> list[str]:
        """What a user should know although nothing is wrong, after ``find``."""
        return self._found.notes()

    @abstractmethod
    def read(self, image: SourceImage) -> AnnotatedImage:
        """Read the annotations of an image.

        Raises:
            ValueError: If a file is broken; the message names it, the place in it and what to do.
        """
