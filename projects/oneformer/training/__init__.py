"""Parts of training OneFormer: settings, log lines and curves."""

from .annealing import MaskAnnealingHook
from .banner import StartBanner
from .curves import TrainingCurves
from .log_lines import ReadableLog
from .optimizer import OneFormerOptimWrapperConstructor
from .task_statistics import TaskStatistics
from .visualization_hook import OneFormerVisualizationHook

__all__ = [
    'MaskAnnealingHook',
    'OneFormerOptimWrapperConstructor',
    'OneFormerVisualizationHook',
    'ReadableLog',
    'StartBanner',
    'TaskStatistics',
    'TrainingCurves',
]
