"""Labels of images, and what training is taught of them: a task, its targets and texts."""

from .geometry import LargeScaleJitter, ResizeShortEdge
from .instance import InstanceDataset
from .joint import JointDataset, JointSampler
from .packing import PackSegmentInputs
from .panoptic import CityscapesPanopticDataset, PanopticDataset
from .segment_map import LoadPhoto, LoadSegmentMap
from .semantic import SemanticDataset
from .task_sampling import SampleTask, derive_targets

__all__ = [
    'CityscapesPanopticDataset',
    'InstanceDataset',
    'JointDataset',
    'JointSampler',
    'LargeScaleJitter',
    'LoadPhoto',
    'LoadSegmentMap',
    'PackSegmentInputs',
    'PanopticDataset',
    'ResizeShortEdge',
    'SampleTask',
    'SemanticDataset',
    'derive_targets',
]
