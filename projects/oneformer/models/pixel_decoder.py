"""Sec. 3.4, the pixel decoder: Mask2Former's, in float32, on deformable attention for any device.

``IdentityPixelDecoder`` takes its place where the backbone's maps are good as they are.

Shapes: B images, N tokens of the levels of strides 32, 16, 8 together, L levels, C channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.layers import MSDeformAttnPixelDecoder
from mmdet.registry import MODELS
from mmengine.model import BaseModule, caffe2_xavier_init, xavier_init
from torch import Tensor, nn

from ..kernels.attention_levels import Levels
from ..kernels.attention_paths import check_choice, choose_path
from ..kernels.deformable_attention import DeformableAttention
from ..kernels.group_norm import make_exact
from ..kernels.positional_encoding import positional_encoding
from ..kernels.precision import float32_step
from ..kernels.recomputing import recompute
from .transformer import FeedForward


@MODELS.register_module()
class OneFormerPixelDecoder(MSDeformAttnPixelDecoder):
    """mmdet's ``MSDeformAttnPixelDecoder`` as the original runs it.

    Arguments and parameter names are the parent's. The original switches autocast off here, and
    uses dropout 0.1 where Mask2Former has none (set in the config).

    Args:
        with_cp: Keep no activations of the encoder layers in training, but compute them again in
            the backward pass.
        attention: Path of deformable attention, ``'cuda'``, ``'triton'``, ``'torch'`` or ``'cpu'``;
            ``'auto'`` takes the fastest that can run on the device.
    """

    def __init__(self, *args, with_cp: bool = False, attention: str = 'auto', **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.with_cp = with_cp
        self.attention = check_choice(attention)
        for layer in self.encoder.layers:
            layer.self_attn = DeformableAttention(**layer.self_attn_cfg)
            layer.ffn = FeedForward(**layer.ffn_cfg)
        make_exact(self)

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
            Mask features (B, C, H/4, W/4) and the maps of strides 32, 16, 8 as (B, C, h, w), whose
            memory is laid out as tokens (channels last).
        """
        with float32_step(feats[0].device):
            feats = [feat.float() for feat in feats]
            coarse = feats[: -len(self.input_convs) - 1 : -1]
            maps = self.encode(
                [conv(feat).to(feat.dtype) for conv, feat in zip(self.input_convs, coarse)]
            )
            # torch cannot tell the layout of one image's part of the tokens, and would resize it in
            # planes: a copy has strides that say it
            fine = maps[-1].clone(memory_format=torch.channels_last)
            finer = feats[-len(self.input_convs) - 1 :: -1]
            for lateral, output, feat in zip(self.lateral_convs, self.output_convs, finer):
                # like the tokens; with it, resizing and the sums over channels read whole pixels
                feat = feat.contiguous(memory_format=torch.channels_last)
                fine = F.interpolate(fine, size=feat.shape[-2:], mode='bilinear')
                fine = output(fine.add_(lateral(feat))).to(feat.dtype)
            return self.mask_feature(fine).to(fine.dtype), maps

    def encode(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Let the tokens of all levels attend to each other.

        Args:
            maps: Tensors of shape (B, C, h, w), from the coarsest.

        Returns:
            The same shapes.
        """
        device, channels = maps[0].device, maps[0].shape[1]
        levels = Levels.of([tuple(level.shape[-2:]) for level in maps], device)
        path, _ = choose_path(device, self.attention)
        tokens = torch.cat([level.flatten(2).mT for level in maps], 1)  # B N C
        position = torch.cat(
            [
                positional_encoding(*shape, channels, device) + embed
                for shape, embed in zip(levels.shapes, self.level_encoding.weight)
            ]
        )  # N C

        def update(layer: nn.Module, tokens: Tensor) -> Tensor:
            tokens = layer.norms[0](layer.self_attn(tokens, position, levels, path))
            return layer.norms[1](layer.ffn(tokens))

        for layer in self.encoder.layers:
            if self.with_cp and torch.is_grad_enabled():
                tokens = recompute(update, layer, tokens)
            else:
                tokens = update(layer, tokens)
        parts = tokens.split([h * w for h, w in levels.shapes], dim=1)
        return [part.mT.unflatten(2, shape) for part, shape in zip(parts, levels.shapes)]


@MODELS.register_module()
class IdentityPixelDecoder(BaseModule):
    """The backbone's maps as they are, each behind a projection: 1x1 convolution and group norm.

    No map sees another one, and there is no deformable attention, so that nothing needs a custom
    operator. For a backbone whose maps all know the whole image, which those of a plain vision
    transformer do (EoMT, Kerssies et al., CVPR 2025, Table 1: 0.2 PQ below an adapter with
    deformable attention). Of a hierarchical backbone the map of stride 4 has seen little.

    Parameters that ``OneFormerPixelDecoder`` has too bear the same names.

    Args:
        in_channels: Channels of the backbone's maps, from the finest.
        feat_channels: C of the coarse maps.
        out_channels: C of the mask features.
        num_outs: L, coarse maps for attention.
        norm_cfg: Norm after each projection.
        init_cfg: mmengine's.
        **others: None is taken; those of ``OneFormerPixelDecoder`` are named by the error.

    Raises:
        ValueError: For another number of maps than L + 1, and for other arguments.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        feat_channels: int = 256,
        out_channels: int = 256,
        num_outs: int = 3,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
        **others,
    ) -> None:
        super().__init__(init_cfg)
        if others:
            raise ValueError(
                f'IdentityPixelDecoder takes no {", ".join(sorted(others))}: write '
                "model.panoptic_head.pixel_decoder=dict(_delete_=True, type='IdentityPixelDecoder')"
            )
        if len(in_channels) != num_outs + 1:
            raise ValueError(
                f'IdentityPixelDecoder takes {num_outs + 1} maps, of which the finest gives the '
                f'mask features, and panoptic_head.in_channels has {len(in_channels)}: '
                f'{list(in_channels)}'
            )
        norm_cfg = norm_cfg or dict(type='GN', num_groups=32)

        def projection(channels: int) -> ConvModule:
            return ConvModule(channels, feat_channels, 1, norm_cfg=norm_cfg, act_cfg=None)

        finest, *coarse = in_channels
        self.input_convs = nn.ModuleList(projection(channels) for channels in coarse[::-1])
        self.lateral_convs = nn.ModuleList([projection(finest)])
        self.mask_feature = nn.Conv2d(feat_channels, out_channels, 1)
        make_exact(self)

    def init_weights(self) -> None:
        """Initialise as ``OneFormerPixelDecoder`` its layers of the same names."""
        super().init_weights()
        for conv in self.input_convs:
            xavier_init(conv.conv, distribution='uniform')
        caffe2_xavier_init(self.lateral_convs[0].conv)
        caffe2_xavier_init(self.mask_feature)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Project backbone features, see ``OneFormerPixelDecoder.forward``."""
        with float32_step(feats[0].device):
            fine, *coarse = (
                feat.float().contiguous(memory_format=torch.channels_last) for feat in feats
            )
            maps = [conv(feat).to(feat.dtype) for conv, feat in zip(self.input_convs, coarse[::-1])]
            return self.mask_feature(self.lateral_convs[0](fine)).to(fine.dtype), maps
