"""A plain vision transformer whose last blocks wait for the queries."""

from dataclasses import dataclass

from mmdet.registry import MODELS
from torch import Tensor

from ..backbones.plain_vit import PlainViT


@dataclass
class JointTokens:
    """Images after the first blocks, and the transformer whose other blocks they are to go through.

    Attributes:
        tokens: Prefix tokens and patches of shape (B, P + h w, C).
        rope: Rotary position of the patches, None if their position was added.
        grid: (h, w).
        vit: The transformer.
    """

    tokens: Tensor
    rope: Tensor | None
    grid: tuple[int, int]
    vit: 'JointViT'


@MODELS.register_module()
class JointViT(PlainViT):
    """A ``PlainViT`` whose last blocks are run by the head, on queries and patches together.

    Args:
        arch: Which network, see ``PlainViT``.
        num_joint_blocks: Number of last blocks in which queries take part: 3 of 12, 4 of 24, 5 of
            40 in EoMT.
        **kwargs: Other arguments of ``PlainViT``.

    Raises:
        ValueError: If there are not as many blocks.
    """

    def __init__(self, arch: str, num_joint_blocks: int = 3, **kwargs) -> None:
        super().__init__(arch, pyramid=False, **kwargs)
        if not 1 <= num_joint_blocks <= self.depth:
            raise ValueError(
                f'backbone.num_joint_blocks is {num_joint_blocks}: {arch} has {self.depth} blocks, '
                'so it has to be a number from 1 to that'
            )
        self.num_joint_blocks = num_joint_blocks
        self.not_in_weights = {**self.not_in_weights, 'num_joint_blocks': num_joint_blocks}

    def forward(self, images: Tensor) -> JointTokens:
        """Run the first blocks on normalised images (B, 3, H, W)."""
        embedded = self.embed(images)
        tokens = self.run(embedded.tokens, embedded.rope, 0, self.depth - self.num_joint_blocks)
        return JointTokens(tokens, embedded.rope, embedded.grid, self)
