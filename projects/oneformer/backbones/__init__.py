"""Backbones that the host lacks or that are faster here."""

from .dinat import DiNAT
from .efficientnet_lite import EfficientNetLite0
from .plain_vit import PlainViT
from .resnet import OneFormerResNet
from .swin import OneFormerSwinTransformer
from .timm_backbone import TimmBackbone

__all__ = [
    'DiNAT',
    'EfficientNetLite0',
    'OneFormerResNet',
    'OneFormerSwinTransformer',
    'PlainViT',
    'TimmBackbone',
]
