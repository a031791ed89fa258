from .distributed import OneFormerDistributedDataParallel, init_cpu_processes
from .optim_constructor import OneFormerOptimWrapperConstructor

__all__ = [
    'OneFormerDistributedDataParallel',
    'OneFormerOptimWrapperConstructor',
    'init_cpu_processes',
]
