"""Use a trained model: images, folders and videos in, plain arrays and files out."""

from ..results.prediction import Prediction
from .inferencer import OneFormerInferencer

__all__ = ['OneFormerInferencer', 'Prediction']
