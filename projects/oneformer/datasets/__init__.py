from .geometry import LargeScaleJitter, ResizeShortEdge
from .instance import InstanceDataset
from .joint import JointDataset, JointSampler
from .loading import LoadPhoto, LoadSegmentMap
from .packing import PackPanopticInputs
from .panoptic import CityscapesPanopticDataset, PanopticDataset
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
    'PackPanopticInputs',
    'PanopticDataset',
    'ResizeShortEdge',
    'SampleTask',
    'SemanticDataset',
    'derive_targets',
]
