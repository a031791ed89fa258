"""Use a trained model: photos, folders and videos in, plain arrays and files out."""

from .inferencer import OneFormerInferencer
from .prediction import Prediction

__all__ = ['OneFormerInferencer', 'Prediction']
