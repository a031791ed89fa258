"""The formats that annotations can be converted from, by name."""

from .annotated import AnnotationSource
from .bdd100k import BddSource
from .coco import CocoSource
from .color_masks import ColorMaskSource
from .cvat import CvatSource
from .huggingface import HuggingFaceSource
from .label_studio import LabelStudioSource
from .labelme import LabelmeSource
from .lvis import LvisSource
from .supervisely import SuperviselySource
from .voc import VocSource
from .yolo import YoloSource

FORMATS: dict[str, type[AnnotationSource]] = {
    'yolo': YoloSource,
    'labelme': LabelmeSource,
    'cvat': CvatSource,
    'label_studio': LabelStudioSource,
    'supervisely': SuperviselySource,
    'coco': CocoSource,
    'lvis': LvisSource,
    'voc': VocSource,
    'color_masks': ColorMaskSource,
    'bdd100k': BddSource,
    'huggingface': HuggingFaceSource,
}
