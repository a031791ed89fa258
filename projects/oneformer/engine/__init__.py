from .distributed import OneFormerDistributedDataParallel, init_cpu_processes
from .optim_constructor import OneFormerOptimWrapperConstructor
from .resuming import ResumableCheckpointHook, StopOnSignal
from .reuse_weights import ReuseWeights
from .safe_loading import register_loaders

__all__ = [
    'OneFormerDistributedDataParallel',
    'OneFormerOptimWrapperConstructor',
    'ResumableCheckpointHook',
    'ReuseWeights',
    'StopOnSignal',
    'init_cpu_processes',
    'register_loaders',
]

register_loaders()
