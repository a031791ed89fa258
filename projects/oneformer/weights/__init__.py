"""From anybody's weights to a model, and back."""

from .pretrained import PretrainedBackbone
from .reuse_weights import ReuseWeights
from .safe_loading import register_loaders

__all__ = ['PretrainedBackbone', 'ReuseWeights', 'register_loaders']

register_loaders()
