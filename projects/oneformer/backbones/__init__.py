"""Backbones that the host lacks or that are faster here."""

from .dinat import DiNAT
from .efficientnet_lite import EfficientNetLite0
from .resnet import OneFormerResNet
from .swin import OneFormerSwinTransformer

__all__ = ['DiNAT', 'EfficientNetLite0', 'OneFormerResNet', 'OneFormerSwinTransformer']
