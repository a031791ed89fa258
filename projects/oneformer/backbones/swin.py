"""mmdet's Swin transformer, whose weights are loaded safely and completely."""

from mmdet.models import SwinTransformer
from mmdet.registry import MODELS
from mmengine.model import BaseModule, Sequential
from torch import Tensor

from ..kernels.chunks import by_chunks
from .window_attention import WindowAttention


class _ByParts(Sequential):
    """Layers that treat every token alone, see ``chunks``."""

    def forward(self, x: Tensor) -> Tensor:
        return by_chunks(super().forward, x, self.training)


@MODELS.register_module()
class OneFormerSwinTransformer(SwinTransformer):
    """mmdet's ``SwinTransformer``, with complete and safe loading of weights.

    Has the same arguments and tensors; mmdet's loads what fits and runs pickles. ``init_cfg`` is
    one of mmengine's, usually ``dict(type='PretrainedBackbone', checkpoint=...)``, which makes
    ``convert_weights`` needless.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for stage in self.stages:
            for block in stage.blocks:
                block.attn = WindowAttention(block.attn)
                block.ffn.layers = _ByParts(*block.ffn.layers)

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says; without it as in the original, from scratch."""
        if self.init_cfg:
            BaseModule.init_weights(self)
        else:
            super().init_weights()
