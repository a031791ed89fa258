"""PQ, AP and mIoU of all three tasks from one pass over the panoptic annotation."""

from .instance_ap import InstanceAP
from .panoptic_quality import PanopticQuality
from .semantic_iou import SemanticIoU

__all__ = ['InstanceAP', 'PanopticQuality', 'SemanticIoU']
