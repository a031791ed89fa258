"""mmdet's Swin transformer, whose weights are loaded safely and completely."""

from mmdet.models import SwinTransformer
from mmdet.registry import MODELS
from mmengine.model import BaseModule, Sequential
from torch import Tensor

from ..kernels.chunks import by_chunks
from ..kernels.recomputing import recompute_input
from .window_attention import WindowAttention


class _ByParts(Sequential):
    """Layers that treat every token alone, see ``chunks``: linear, activation, linear."""

    def forward(self, x: Tensor) -> Tensor:
        return by_chunks(self._of_tokens, x, self.training)

    def _of_tokens(self, x: Tensor) -> Tensor:
        (widen, activation, drop), narrow, drop_again = self
        is_random = self.training and drop.p > 0
        hidden = widen(x)
        if getattr(activation, 'inplace', False):  # there is one tensor of that width already
            return drop_again(narrow(drop(activation(hidden))))
        return drop_again(
            recompute_input(lambda wide: narrow(drop(activation(wide))), hidden, is_random)
        )


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
