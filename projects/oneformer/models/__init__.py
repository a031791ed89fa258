from .contrastive_loss import QueryTextContrastiveLoss
from .criterion import SetCriterion
from .dinat import DiNAT
from .efficientnet_lite import EfficientNetLite0
from .oneformer import OneFormer
from .oneformer_head import OneFormerHead
from .pixel_decoder import OneFormerPixelDecoder
from .text_mapper import TextMapper
from .tta import OneFormerTTA

__all__ = [
    'DiNAT',
    'EfficientNetLite0',
    'OneFormer',
    'OneFormerHead',
    'OneFormerPixelDecoder',
    'OneFormerTTA',
    'QueryTextContrastiveLoss',
    'SetCriterion',
    'TextMapper',
]
