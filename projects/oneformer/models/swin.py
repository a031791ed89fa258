"""mmdet's Swin transformer, whose weights are loaded safely and completely."""

from mmdet.models import SwinTransformer
from mmdet.registry import MODELS
from mmengine.model import BaseModule


@MODELS.register_module()
class OneFormerSwinTransformer(SwinTransformer):
    """mmdet's ``SwinTransformer``, which by itself loads what fits and runs pickles.

    Takes the same arguments and has the same tensors. ``init_cfg`` is one of mmengine's, usually
    ``dict(type='PretrainedBackbone', checkpoint=...)``, which makes ``convert_weights`` needless.
    """

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says; without it as in the original, from scratch."""
        if self.init_cfg:
            BaseModule.init_weights(self)
        else:
            super().init_weights()
