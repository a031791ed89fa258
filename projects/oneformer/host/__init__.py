"""Parts that mmengine lacks, without OneFormer; imports nothing of the rest of the package.

``compat`` comes first: it makes mmdet importable everywhere. ``late_loading`` brings mmengine of
OpenMMLab up to that of OneDL.
"""

# isort: off
from . import compat  # noqa: F401
from .postponed import postponed_imports
from .quiet_import import quiet_import

with quiet_import(), postponed_imports():
    from .averaging import AveragedWeights
    from .compiling import CompileBackbone
    from .distributed import OneFormerDistributedDataParallel, init_cpu_processes
    from .finite_steps import FiniteSteps
    from .late_loading import load_late
    from .late_values import LateRuntimeInfoHook
    from .pace import PaceLine
    from .pinning import pin_elements
    from .resuming import ResumableCheckpointHook
    from .schedules import TwoStagePolyLR, WholeRunMultiStepLR, WholeRunPolyLR
    from .sharding import FullyShardStrategy
    from .stopping import StopOnSignal
    from .train_loop import OneFormerTrainLoop
    from .validation_notice import ValidationNotice

load_late()
pin_elements()

__all__ = [
    'AveragedWeights',
    'CompileBackbone',
    'FiniteSteps',
    'FullyShardStrategy',
    'LateRuntimeInfoHook',
    'OneFormerDistributedDataParallel',
    'OneFormerTrainLoop',
    'PaceLine',
    'ResumableCheckpointHook',
    'StopOnSignal',
    'TwoStagePolyLR',
    'ValidationNotice',
    'WholeRunMultiStepLR',
    'WholeRunPolyLR',
    'init_cpu_processes',
    'postponed_imports',
    'quiet_import',
]
