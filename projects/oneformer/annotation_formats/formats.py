"""The formats that annotations can be converted from, by name."""

from .annotated import AnnotationSource
from .coco import CocoSource
from .lvis import LvisSource

FORMATS: dict[str, type[AnnotationSource]] = {
    'coco': CocoSource,
    'lvis': LvisSource,
}
