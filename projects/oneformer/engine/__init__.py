from .banner import StartBanner
from .compiling import CompileBackbone
from .curves import TrainingCurves
from .distributed import OneFormerDistributedDataParallel, init_cpu_processes
from .finite_steps import FiniteSteps
from .log_lines import ReadableLog
from .optim_constructor import OneFormerOptimWrapperConstructor
from .pace import PaceLine
from .resuming import ResumableCheckpointHook
from .reuse_weights import ReuseWeights
from .safe_loading import register_loaders
from .schedules import WholeRunMultiStepLR, WholeRunPolyLR
from .sharding import FullyShardStrategy
from .stopping import StopOnSignal
from .task_statistics import TaskStatistics
from .train_loop import OneFormerTrainLoop
from .validation_notice import ValidationNotice
from .visualization_hook import OneFormerVisualizationHook

__all__ = [
    'CompileBackbone',
    'FiniteSteps',
    'FullyShardStrategy',
    'OneFormerDistributedDataParallel',
    'OneFormerOptimWrapperConstructor',
    'OneFormerTrainLoop',
    'OneFormerVisualizationHook',
    'PaceLine',
    'ReadableLog',
    'ResumableCheckpointHook',
    'ReuseWeights',
    'StartBanner',
    'StopOnSignal',
    'TaskStatistics',
    'TrainingCurves',
    'ValidationNotice',
    'WholeRunMultiStepLR',
    'WholeRunPolyLR',
    'init_cpu_processes',
    'register_loaders',
]

register_loaders()
