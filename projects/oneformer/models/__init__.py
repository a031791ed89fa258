from .contrastive_loss import QueryTextContrastiveLoss
from .criterion import SetCriterion
from .dinat import DiNAT
from .efficientnet_lite import EfficientNetLite0
from .oneformer import OneFormer
from .oneformer_head import OneFormerHead
from .pixel_decoder import OneFormerPixelDecoder
from .pretrained import PretrainedBackbone
from .resnet import OneFormerResNet
from .swin import OneFormerSwinTransformer
from .text_mapper import TextMapper
from .tta import OneFormerTTA

__all__ = [
    'DiNAT',
    'EfficientNetLite0',
    'OneFormer',
    'OneFormerHead',
    'OneFormerPixelDecoder',
    'OneFormerResNet',
    'OneFormerSwinTransformer',
    'OneFormerTTA',
    'PretrainedBackbone',
    'QueryTextContrastiveLoss',
    'SetCriterion',
    'TextMapper',
]
