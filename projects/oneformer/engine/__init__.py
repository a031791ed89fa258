from .distributed import OneFormerDistributedDataParallel, init_cpu_processes
from .optim_constructor import OneFormerOptimWrapperConstructor
from .reuse_weights import ReuseWeights
from .safe_loading import register_loaders
from .sharding import FullyShardStrategy

__all__ = [
    'FullyShardStrategy',
    'OneFormerDistributedDataParallel',
    'OneFormerOptimWrapperConstructor',
    'ReuseWeights',
    'init_cpu_processes',
    'register_loaders',
]

register_loaders()
