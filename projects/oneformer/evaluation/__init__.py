"""Scores of all three tasks, against a dataset's labels or official files, and result files."""

from .cityscapes import (
    CityscapesInstance,
    CityscapesInstanceFiles,
    CityscapesSemantic,
    CityscapesSemanticFiles,
)
from .evaluator import OneFormerEvaluator
from .instance_ap import InstanceAP
from .panoptic_quality import PanopticQuality
from .result_files import InstanceFiles, PanopticFiles, SemanticFiles
from .semantic_iou import SemanticIoU

__all__ = [
    'CityscapesInstance',
    'CityscapesInstanceFiles',
    'CityscapesSemantic',
    'CityscapesSemanticFiles',
    'InstanceAP',
    'InstanceFiles',
    'OneFormerEvaluator',
    'PanopticFiles',
    'PanopticQuality',
    'SemanticFiles',
    'SemanticIoU',
]
