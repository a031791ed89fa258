"""Run an exported OneFormer by onnxruntime or OpenVINO, without torch and OpenMMLab.

>>> from oneformer_runtime import OnnxOneFormer
>>> model = OnnxOneFormer('exported')
>>> (prediction,) = model('street.jpg', tasks=['panoptic', 'instance', 'semantic'])

The package is part of the distribution ``oneformer``, and is a distribution of its own,
``oneformer-runtime``, for machines without torch. Only one of them is needed: both hold the same
files, so the one that was installed last is the one that runs.
"""

from .description import DescriptionError, ModelDescription
from .onnx_oneformer import OnnxOneFormer
from .prediction import Prediction

__all__ = ['DescriptionError', 'ModelDescription', 'OnnxOneFormer', 'Prediction']
