from .geometry import LargeScaleJitter, ResizeShortEdge
from .loading import LoadPanopticMap, LoadPhoto
from .packing import PackPanopticInputs
from .panoptic import PanopticDataset
from .task_sampling import SampleTask, derive_targets

__all__ = [
    'LargeScaleJitter',
    'LoadPanopticMap',
    'LoadPhoto',
    'PackPanopticInputs',
    'PanopticDataset',
    'ResizeShortEdge',
    'SampleTask',
    'derive_targets',
]
