"""DINOv2's and DINOv3's plain vision transformers, on timm's blocks.

Shapes: B images, H, W their height and width, h, w those of the grid of patches, C channels, P
prefix tokens, which are the class token and the registers, N tokens in all.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule, initialize
from torch import Tensor, nn

from ..kernels.portable import is_portable
from ..kernels.recomputing import recompute
from .feature_pyramid import FeaturePyramid
from .vit_architectures import ARCHITECTURES, OWN_GRID, OWN_PATCH, random_vit
from .vit_weights import adapted, resize_positions

_KEPT_ROPES = 32  # grids whose rotations are kept, some 1 MB each


class ViTTokens(NamedTuple):
    """Images as tokens.

    Attributes:
        tokens: Shape (B, P + h * w, C), prefix tokens first, patches row by row.
        rope: Rotations of the patches for the blocks, None where positions are in the tokens.
        grid: Patches (h, w).
    """

    tokens: Tensor
    rope: Tensor | None
    grid: tuple[int, int]


def _check(arch: str, frozen: bool, save_frozen: bool) -> None:
    if arch not in ARCHITECTURES:
        raise ValueError(
            f'model.backbone.arch={arch!r} is not known; there are {", ".join(ARCHITECTURES)}'
        )
    if not (save_frozen or frozen):
        raise ValueError(
            'model.backbone.save_frozen=False leaves out weights that training changes: set '
            'model.backbone.frozen=True, too, or save_frozen=True'
        )


@MODELS.register_module()
class PlainViT(BaseModule):
    """DINOv2's or DINOv3's vision transformer, with a feature pyramid of strides 4, 8, 16, 32.

    Tensors have timm's names, and those of the pyramid begin with ``pyramid.``. Images are RGB,
    normalised with ImageNet's mean and standard deviation, see ``mean`` and ``std``.

    Args:
        arch: A key of ``ARCHITECTURES``, such as ``'dinov2_b_reg4'`` or ``'dinov3_l'``.
        patch_size: Side of a patch in pixels. None is the network's own, and 16 with a pyramid;
            weights of another size are resampled when they are loaded.
        img_size: Height and width of the images that DINOv2's table of positions is for, at others
            it is interpolated. None keeps the table of the pre-training.
        pyramid: Whether ``forward`` returns the four maps of a pyramid, and not the last one alone.
        out_channels: Channels of the pyramid's maps, see ``FeaturePyramid``.
        antialias: Whether positions are smoothed where they are interpolated. None is as in the
            original: with registers, but not without. timm smooths both.
        qkv_bias: Whether queries and values of DINOv3 have biases. Those of the published weights
            are zero, except after fine-tuning; DINOv2 has them always.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from 0.
        with_cp: Compute activations of each block once more in the backward pass.
        frozen: Whether the transformer, and not the pyramid, stays as it is: in evaluation mode,
            without gradients and without activations kept for them.
        save_frozen: False leaves the frozen weights out of checkpoints, which name the file of
            ``init_cfg`` and a hash of them instead: it is read once more wherever they are loaded.
        embed_dims: Channels C, if not those of ``arch``.
        depth: Blocks, if not those of ``arch``.
        num_heads: Attention heads, if not those of ``arch``.
        init_cfg: Source of the weights, such as
            ``dict(type='PretrainedBackbone', checkpoint=path_or_url)``.

    Raises:
        ValueError: If there is no such ``arch``, no pyramid for the patch, or weights are to be
            left out that are trained.
        ModuleNotFoundError: If timm is not installed or too old.
    """

    mean = (123.675, 116.28, 103.53)
    std = (58.395, 57.12, 57.375)
    not_in_files = ('pyramid.',)
    frozen_source: dict | None = None  # file and hash of the weights, once they are read
    is_init: bool  # mmengine's

    def __init__(
        self,
        arch: str,
        patch_size: int | None = None,
        img_size: int | tuple[int, int] | None = None,
        pyramid: bool = True,
        out_channels: int | None = 256,
        antialias: bool | None = None,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        frozen: bool = False,
        save_frozen: bool = True,
        embed_dims: int | None = None,
        depth: int | None = None,
        num_heads: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        _check(arch, frozen, save_frozen)
        family = arch.partition('_')[0]
        self.arch, self.with_cp, self.frozen, self.save_frozen = arch, with_cp, frozen, save_frozen
        self.patch_size: int = patch_size or (16 if pyramid else OWN_PATCH[family])
        if img_size is None:
            img_size = self.patch_size * OWN_GRID
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.table_grid = (height // self.patch_size, width // self.patch_size)
        options = dict(patch_size=self.patch_size, embed_dim=embed_dims, depth=depth)
        if family == 'dinov3':
            options['qkv_bias'] = qkv_bias
        vit = random_vit(arch, (height, width), dict(options, num_heads=num_heads))
        self.antialias = bool(vit.reg_token is not None) if antialias is None else antialias
        self._take_parts(vit, drop_path_rate)
        # what weights do not tell, kept beside them
        own = dict(img_size=[height, width], antialias=self.antialias)
        self.not_in_weights = dict(
            dict(qkv_bias=qkv_bias) if family == 'dinov3' else own,
            arch=arch,
            patch_size=self.patch_size,
            embed_dims=self.embed_dims,
            depth=self.depth,
            num_heads=vit.blocks[0].attn.num_heads,
        )
        self.requires_grad_(not frozen)
        self.pyramid = (
            FeaturePyramid(self.embed_dims, self.patch_size, out_channels) if pyramid else None
        )
        self.train()
        self._register_load_state_dict_pre_hook(self._require_frozen)

    @property
    def licence(self) -> str:
        """Name of the licence of the published weights, which holds for what is made of them."""
        return 'dinov3-license' if self.arch.startswith('dinov3') else 'Apache-2.0'

    def _take_parts(self, vit: nn.Module, drop_path_rate: float) -> None:
        """Parts of timm's model under its names, and stochastic depth in its blocks."""
        from timm.layers import DropPath

        self.depth, self.embed_dims = len(vit.blocks), vit.embed_dim
        self.num_prefix: int = vit.num_prefix_tokens
        self.patch_embed, self.blocks, self.norm = vit.patch_embed, vit.blocks, vit.norm
        self.cls_token, self.reg_token, self.pos_embed = vit.cls_token, vit.reg_token, vit.pos_embed
        self.rope = getattr(vit, 'rope', None)
        self._ropes: dict[tuple, Tensor] = {}
        for i, block in enumerate(self.blocks):
            if drop_path_rate and i:
                rate = drop_path_rate * i / (self.depth - 1)
                block.drop_path1, block.drop_path2 = DropPath(rate), DropPath(rate)

    def _require_frozen(self, state_dict: dict, prefix: str, *args) -> None:
        """Refuse checkpoints without the frozen weights where nothing brings them."""
        if self.save_frozen or self.frozen_source is not None:
            return
        inside = [key for key in state_dict if key.startswith(prefix)]
        if prefix and not any(f'{prefix}blocks.' in key for key in inside):
            raise ValueError(
                'a checkpoint leaves the weights of the frozen backbone out (save_frozen=False), '
                'and this way of loading it does not read them from their own file: initialise '
                'the model by its init_cfg before, or write a whole file by "oneformer convert '
                'CHECKPOINT WHOLE.pth"'
            )

    def init_weights(self) -> None:
        """Load the weights of ``init_cfg``; what timm built is initialised, and stays so."""
        if self.init_cfg and not self.is_init:
            initialize(self, self.init_cfg)
        self.is_init = True

    def adapt(
        self, tensors: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], list[str], list[str]]:
        """Weights of a file with other patches, positions or biases, see ``adapted``."""
        return adapted(tensors, self.state_dict(), self.table_grid, self.antialias)

    def train(self, mode: bool = True) -> 'PlainViT':
        """Training or evaluation; a frozen transformer stays in evaluation."""
        super().train(mode)
        if self.frozen:
            for name, module in self.named_children():
                module.train(mode and name == 'pyramid')
        return self

    def _grid(self, images: Tensor) -> tuple[int, int]:
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f'images of {height}x{width} pixels are not made of whole patches of '
                f'{self.patch_size} pixels: set model.data_preprocessor.pad_size_divisor to a '
                f'multiple of {self.patch_size}'
            )
        return height // self.patch_size, width // self.patch_size

    def _rotations(self, grid: tuple[int, int]) -> Tensor | None:
        """Sines and cosines (h * w, 2 * head channels) of DINOv3, made once for each grid."""
        if self.rope is None:
            return None
        if is_portable():
            return self._rotations_of_any_size(grid)
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return self.rope.get_embed(shape=grid)
        key = (*grid, self.rope.periods.device)
        if key not in self._ropes:
            if len(self._ropes) >= _KEPT_ROPES:
                self._ropes.clear()
            with torch.inference_mode(False), torch.no_grad():
                self._ropes[key] = self.rope.get_embed(shape=grid)
        return self._ropes[key]

    def _rotations_of_any_size(self, grid: tuple[int, int]) -> Tensor:
        """What timm computes from sizes that it takes for constants."""
        assert self.rope is not None and self.rope.normalize_coords == 'separate'
        device, (h, w) = self.rope.periods.device, grid
        rows, columns = (
            (torch.arange(count, device=device) + 0.5) / count * 2 - 1 for count in grid
        )
        places = torch.stack([rows[:, None].expand(-1, w), columns.expand(h, -1)], 2)
        return torch.cat(self.rope._get_pos_embed_from_coords(places.flatten(0, 1)), 1)

    def embed(self, images: Tensor) -> ViTTokens:
        """Tokens of normalised images (B, 3, H, W) before the first block.

        Raises:
            ValueError: If H or W is not a multiple of the patch.
        """
        grid = self._grid(images)
        x = self.patch_embed(images).flatten(1, 2)
        prefix = [self.cls_token] if self.reg_token is None else [self.cls_token, self.reg_token]
        prefix = [token.expand(x.shape[0], -1, -1) for token in prefix]
        if self.pos_embed is None:
            return ViTTokens(torch.cat([*prefix, x], dim=1), self._rotations(grid), grid)
        # with registers the class token has no position of its own
        own = int(self.reg_token is None)
        positions = resize_positions(self.pos_embed, self.table_grid, grid, own, self.antialias)
        if own:
            return ViTTokens(torch.cat([*prefix, x], dim=1) + positions, None, grid)
        return ViTTokens(torch.cat([*prefix, x + positions], dim=1), None, grid)

    def run(
        self,
        tokens: Tensor,
        rope: Tensor | None,
        start: int = 0,
        stop: int | None = None,
        mask: Tensor | None = None,
        extra: int = 0,
    ) -> Tensor:
        """Apply blocks ``start`` to ``stop - 1``, without the final norm.

        Args:
            tokens: Shape (B, N, C) with N = extra + P + h * w.
            rope: See ``ViTTokens``.
            start: First block.
            stop: The block after the last, None for all.
            mask: Shape (B, 1, N, N), bool: True where the token of a row attends to the token of a
                column, of which each row needs one. None for everywhere.
            extra: Tokens before the prefix tokens, which have no position.

        Returns:
            Tokens (B, N, C).
        """
        options: dict[str, Tensor | None] = dict(attn_mask=mask)
        if rope is not None:
            if extra:
                # timm rotates all but the first P tokens: sines of 0 and cosines of 1 keep them
                half = rope.shape[-1] // 2
                still = torch.cat([rope.new_zeros(extra, half), rope.new_ones(extra, half)], 1)
                rope = torch.cat([still, rope])
            options['rope'] = rope
        for block in self.blocks[start:stop]:
            if self.with_cp and torch.is_grad_enabled() and tokens.requires_grad:
                tokens = recompute(partial(block, **options), tokens)
            else:
                tokens = block(tokens, **options)
        return tokens

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps of normalised images (B, 3, H, W): four of strides 4 to 32, or only the last one.

        Raises:
            ValueError: See ``embed``.
        """
        tokens, rope, grid = self.embed(images)
        tokens = self.norm(self.run(tokens, rope))[:, self.num_prefix :]
        last = tokens.transpose(1, 2).unflatten(2, grid)
        return (last,) if self.pyramid is None else tuple(self.pyramid(last))
