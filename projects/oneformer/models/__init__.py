"""The paper's figure, a file for each part."""

from .contrastive_loss import QueryTextContrastiveLoss
from .criterion import SetCriterion
from .oneformer import OneFormer
from .oneformer_head import OneFormerHead
from .pixel_decoder import OneFormerPixelDecoder
from .text_mapper import TextMapper
from .tta import OneFormerTTA

__all__ = [
    'OneFormer',
    'OneFormerHead',
    'OneFormerPixelDecoder',
    'OneFormerTTA',
    'QueryTextContrastiveLoss',
    'SetCriterion',
    'TextMapper',
]
