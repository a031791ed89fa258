"""The paper's figure, a file for each part."""

from ..kernels.image_batches import OneFormerDataPreprocessor
from .contrastive_loss import QueryTextContrastiveLoss
from .criterion import SetCriterion
from .oneformer import OneFormer
from .oneformer_head import OneFormerHead
from .pixel_decoder import IdentityPixelDecoder, OneFormerPixelDecoder
from .text_mapper import TextMapper
from .tta import OneFormerTTA

__all__ = [
    'IdentityPixelDecoder',
    'OneFormer',
    'OneFormerDataPreprocessor',
    'OneFormerHead',
    'OneFormerPixelDecoder',
    'OneFormerTTA',
    'QueryTextContrastiveLoss',
    'SetCriterion',
    'TextMapper',
]
