"""Any backbone of timm that has maps of strides 4, 8, 16 and 32."""

from collections.abc import Mapping, Sequence

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule, initialize
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from .timm_models import (
    STRIDES,
    check_arguments,
    check_name,
    feature_net,
    own_size,
    statistics,
    traced_parameters,
)
from .timm_weights import translated


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A model of timm that returns its maps of strides 4, 8, 16 and 32.

    Nothing is downloaded for a name: weights come from ``init_cfg``. Tensors are those of timm's
    feature extractor, behind ``net.``.

    Args:
        model_name: Name in timm, such as ``'convnextv2_base'``. With the tag of weights, as in
            ``'convnextv2_base.fcmae_ft_in22k_in1k'``, ``mean`` and ``std`` are those of them.
        img_size: Height and width in pixels, of models that are built for one size, such as
            MaxViT; None is the model's own, and any where the model takes any.
        drop_path_rate: Stochastic depth, as the model distributes it. None is the model's own.
        with_cp: Compute activations once more in the backward pass, as the model does it.
        frozen_stages: Everything that the maps of so many strides need stays as it is: 1 is all up
            to stride 4, 4 is the whole model, 0 is nothing.
        norm_eval: Whether batch norms keep their statistics.
        model_args: More arguments of timm's model, none of which fetches or reads files.
        init_cfg: Source of the weights,
            ``dict(type='PretrainedBackbone', checkpoint=path_or_url_or_id)``. Files are read as
            timm reads them for this model: its own, those of the authors, and folders and ids of
            the Hugging Face hub.

    Raises:
        ValueError: If there is no such model, or it has no such maps, or not these options; or
            timm would read files for them.
        ModuleNotFoundError: If timm is not installed.
    """

    is_init: bool  # mmengine's

    def __init__(
        self,
        model_name: str,
        img_size: int | tuple[int, int] | None = None,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        frozen_stages: int = 0,
        norm_eval: bool = False,
        model_args: Mapping | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_name(model_name)
        check_arguments(model_args or {})
        if not 0 <= frozen_stages <= len(STRIDES):
            raise ValueError(
                f'model.backbone.frozen_stages={frozen_stages} has to be 0 to {len(STRIDES)}, the '
                f'number of maps, of strides {STRIDES}, that stay as they are'
            )
        self.model_name, self.norm_eval = model_name, norm_eval
        options = dict(model_args or {}, img_size=img_size, drop_path_rate=drop_path_rate)
        self.options = {key: value for key, value in options.items() if value is not None}
        # what weights do not tell, kept beside them
        self.not_in_weights: dict = dict(model_name=model_name)
        if img_size is not None:
            size = [img_size] * 2 if isinstance(img_size, int) else list(img_size)
            self.not_in_weights['img_size'] = size
        if model_args:
            self.not_in_weights['model_args'] = dict(model_args)
        self.net, self.out_channels = feature_net(model_name, self.options)
        self.mean, self.std, self.licence = statistics(self.net)
        self.own_size = own_size(self.net, img_size)
        self._set_checkpointing(with_cp)
        self._freeze(frozen_stages)
        self.train()

    def _set_checkpointing(self, with_cp: bool) -> None:
        """In the stages, block by block, or else as the feature extractor does it."""
        stages = [m for m in self.net.modules() if hasattr(m, 'grad_checkpointing')]
        inner = [module for module in stages if module is not self.net]
        if with_cp and not stages:
            raise ValueError(
                f'model.backbone.with_cp=True: {self.model_name} of timm cannot compute '
                'activations once more; leave the option out'
            )
        for module in inner or stages:
            module.grad_checkpointing = with_cp

    def _freeze(self, stages: int) -> None:
        """Freeze what the first maps need, and what no map needs, which no gradient reaches."""
        needed = traced_parameters(self.net, self.own_size)
        named = dict(self.net.named_parameters())
        frozen = set(named).difference(*needed) | set().union(*needed[:stages])
        for name in frozen:
            named[name].requires_grad_(False)

    def init_weights(self) -> None:
        """Load the weights of ``init_cfg``; what timm built is initialised, and stays so."""
        if self.init_cfg and not self.is_init:
            initialize(self, self.init_cfg)
        self.is_init = True

    def train(self, mode: bool = True) -> 'TimmBackbone':
        """Training or evaluation; what is frozen stays in evaluation."""
        super().train(mode)
        for module in self.net.modules() if mode else ():
            own = list(module.parameters())
            is_frozen = own and not any(parameter.requires_grad for parameter in own)
            if is_frozen or (self.norm_eval and isinstance(module, _BatchNorm)):
                module.eval()
        return self

    def translate(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Weights in the layout of timm, of the authors, or of the hub, under our names.

        Returns:
            Tensors, and names in the file of what no map needs.

        Raises:
            ValueError: With the names of what is missing, unknown or of another shape.
        """
        return translated(self.model_name, self.options, self.net, tensors)

    def forward(self, images: Tensor) -> Sequence[Tensor]:
        """Maps of normalised images (B, 3, H, W), the finest first.

        Raises:
            ValueError: If the model takes images of another size only.
        """
        try:
            maps = self.net(images)
        except (AssertionError, IndexError, RuntimeError) as error:
            height, width = images.shape[-2:]
            if isinstance(error, torch.cuda.OutOfMemoryError) or [height, width] == self.own_size:
                raise
            raise ValueError(
                f'{self.model_name} of timm does not take images of {height}x{width} pixels '
                f'({error}): set model.backbone.img_size and the sizes of the pipeline, and '
                'model.data_preprocessor.pad_size_divisor, to what it takes'
            ) from error
        return tuple(
            x if x.shape[1] == channels else x.permute(0, 3, 1, 2).contiguous()
            for x, channels in zip(maps, self.out_channels, strict=True)
        )
