"""LVIS: COCO's format, with what was looked for in each image."""

from typing import ClassVar

from .coco import CocoSource


class LvisSource(CocoSource):
    """LVIS v1. Classes that an image neither has nor lists were not looked for in it.

    ``neg_category_ids`` are classes that are certainly not in the image, and of those of
    ``not_exhaustive_category_ids`` not all objects are annotated.
    """

    title: ClassVar[str] = 'LVIS v1 JSONs, whose images say which classes were looked for'
    _looked_for = True
