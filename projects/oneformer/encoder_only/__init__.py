"""OneFormer without a decoder: queries join the patches in the last blocks of a plain ViT.

EoMT (Kerssies et al., CVPR 2025) with a task token. The detector, its criterion, text branch and
predictions are those of ``models``.
"""

from .joint_vit import JointViT
from .vit_head import OneFormerViTHead

__all__ = ['JointViT', 'OneFormerViTHead']
