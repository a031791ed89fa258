"""Weights of anybody, for a model of ours: read, fitted, written. See docs/weights.md."""

from ..host.errors import CheckpointError
from .fitting import Fit, fit
from .hooks import PretrainedBackbone, ReuseWeights
from .reading import Weights, read
from .safe_loaders import use_safe_loaders
from .writing import write
from .written import Written

__all__ = [
    'CheckpointError',
    'Fit',
    'PretrainedBackbone',
    'ReuseWeights',
    'Weights',
    'Written',
    'fit',
    'read',
    'use_safe_loaders',
    'write',
]
