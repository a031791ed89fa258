from .banner import StartBanner
from .distributed import OneFormerDistributedDataParallel, init_cpu_processes
from .optim_constructor import OneFormerOptimWrapperConstructor
from .reuse_weights import ReuseWeights
from .safe_loading import register_loaders

__all__ = [
    'OneFormerDistributedDataParallel',
    'OneFormerOptimWrapperConstructor',
    'ReuseWeights',
    'StartBanner',
    'init_cpu_processes',
    'register_loaders',
]

register_loaders()
