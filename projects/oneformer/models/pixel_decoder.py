"""The pixel decoder: Mask2Former's, in float32, on deformable attention that runs everywhere."""

from collections.abc import Sequence

import torch
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmdet.registry import MODELS
from torch import Tensor, nn

from .deformable_attention import DeformableAttention


@MODELS.register_module()
class OneFormerPixelDecoder(MSDeformAttnPixelDecoder):
    """mmdet's ``MSDeformAttnPixelDecoder`` as the original runs it.

    Arguments and parameter names are the parent's. The original switches autocast off here, and
    uses dropout 0.1 where Mask2Former has none (set in the config).
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for layer in self.encoder.layers:
            layer.self_attn = DeformableAttention(**layer.self_attn_cfg)

    def init_weights(self) -> None:
        """Initialise as the original: mmdet draws the feed-forward matrices from a normal."""
        super().init_weights()
        for layer in self.encoder.layers:
            for parameter in layer.ffn.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Refine backbone features.

        Args:
            feats: Maps of strides 4, 8, 16, 32.

        Returns:
            Mask features (B, C, H/4, W/4) and the maps of strides 32, 16, 8 as (B, C, h, w).
        """
        with torch.autocast(feats[0].device.type, enabled=False):
            return super().forward([feat.float() for feat in feats])
