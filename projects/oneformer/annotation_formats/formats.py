"""The formats that annotations can be converted from, by name."""

from .annotated import AnnotationSource
from .coco import CocoSource
from .cvat import CvatSource
from .label_studio import LabelStudioSource
from .labelme import LabelmeSource
from .lvis import LvisSource
from .supervisely import SuperviselySource
from .yolo import YoloSource

FORMATS: dict[str, type[AnnotationSource]] = {
    'yolo': YoloSource,
    'labelme': LabelmeSource,
    'cvat': CvatSource,
    'label_studio': LabelStudioSource,
    'supervisely': SuperviselySource,
    'coco': CocoSource,
    'lvis': LvisSource,
}
