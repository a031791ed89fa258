"""Queries and patches in the last blocks of a plain ViT, conditioned on tasks.

Shapes: B images, T tasks per image, Q queries, C channels, K classes, L outputs (before each joint
block and at the end), P prefix tokens, h x w the grid of patches. There are n sequences of tokens
with S tasks each: one of each image and task, or with shared patches one of each image.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..kernels.mask_annealing import MaskAnnealing
from ..kernels.portable import is_portable
from ..kernels.recomputing import recompute
from ..models.oneformer_head import Decoded
from ..models.task_queries import Tasks, token_ids
from .joint_vit import JointTokens
from .task_token import TaskToken
from .upscaling import Upscaling


class Output(NamedTuple):
    """What is read from the tokens between two blocks.

    Attributes:
        queries: Normalised queries of shape (n, S Q, C).
        mask_embeds: Mask embeddings of shape (n, S Q, C).
        mask_features: Mask features of shape (n, C, 4 h, 4 w).
    """

    queries: Tensor
    mask_embeds: Tensor
    mask_features: Tensor


@MODELS.register_module()
class OneFormerViTHead(BaseModule):
    """Queries of each task, and the classes and masks that are read from them.

    Query i is the sum of the task token and a learned embedding. With ``task_queries=None`` there
    is no task token, the outputs are the same for every task, and the model is EoMT. Names of
    parameters are those of ``OneFormerHead`` where it has them.

    Args:
        embed_dims: C, of the backbone.
        num_classes: K.
        num_queries: Q; 200 in EoMT.
        num_upscale: Number of times that the patches are doubled; 2 for patches of 16 pixels.
        task_queries: Arguments of ``TaskToken``, None for none.
        mask_annealing: Arguments of ``MaskAnnealing``, with a span for each joint block. By default
            the queries look inside their masks, in training and prediction.
        shared_patches: Whether patches do not look at queries, so that all tasks share them and
            cost little more than one. It is another function than EoMT's, and is to be trained.
        with_cp: Keep no activations of mask features in training, but compute them again in the
            backward pass.
    """

    shared: Tensor | None

    def __init__(
        self,
        embed_dims: int,
        num_classes: int,
        num_queries: int = 200,
        num_upscale: int = 2,
        task_queries: dict | None = {},  # noqa: B006
        mask_annealing: dict | None = None,
        shared_patches: bool = False,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        if num_queries < 2:
            raise ValueError(f'panoptic_head.num_queries is {num_queries}: it has to be at least 2')
        self.num_queries = num_queries
        self.with_cp = with_cp
        # empty, but in the state dict: weights say which function they are for
        self.register_buffer('shared', torch.zeros(0) if shared_patches else None)
        self.query_embed = nn.Embedding(num_queries, embed_dims)
        self.task_queries = None
        if task_queries is not None:
            self.task_queries = TaskToken(embed_dims, **task_queries)
        self.cls_embed = nn.Linear(embed_dims, num_classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(embed_dims, embed_dims),
            nn.GELU(),
            nn.Linear(embed_dims, embed_dims),
            nn.GELU(),
            nn.Linear(embed_dims, embed_dims),
        )
        self.upscale = Upscaling(embed_dims, num_upscale)
        self.mask_annealing = None if mask_annealing is None else MaskAnnealing(**mask_annealing)

    def encode(self, feats: JointTokens) -> JointTokens:
        """What does not depend on a task: the first blocks, which the backbone has run."""
        return feats

    def decode(self, encoded: JointTokens, tasks: Tasks) -> Decoded:
        """Run the joint blocks for tasks of encoded images.

        Args:
            encoded: What ``encode`` returned for B images.
            tasks: Task words of each image, the same number T for all, or their ids, see
                ``task_queries.token_ids``.

        Raises:
            ValueError: For a word that is not a task.
        """
        ids = token_ids(tasks, encoded.tokens.device)
        queries, S = self._start(encoded, ids)
        tokens = self._joined(queries, encoded)
        outputs: list[Output] = []
        tokens = self._run(tokens, S, encoded, outputs)
        return self._decoded([*outputs, self.read(tokens, S, encoded.grid)], *ids.shape[:2])

    def decode_for_prediction(self, encoded: JointTokens, tasks: Tasks) -> Decoded:
        """As ``decode``, but of the last output alone: L is 1.

        It has mask logits, which need less memory than mask features.
        """
        ids = token_ids(tasks, encoded.tokens.device)
        queries, S = self._start(encoded, ids)
        if ids.device.type == 'cpu' and not is_portable():
            queries, logits = self._predict_one_by_one(queries.flatten(0, 1), S, encoded)
        else:
            tokens = self._run(self._joined(queries, encoded), S, encoded)
            queries = tokens[:, : S * self.num_queries]
            # features of one sequence are released before those of the next
            parts = [tokens] if is_portable() else tokens.split(1)
            logits = torch.cat([self._masks(part, S, encoded.grid) for part in parts])
        queries, logits = (self._of_tasks(x, *ids.shape[:2]) for x in (queries, logits))
        return Decoded(self.cls_embed(queries)[None], None, [logits], queries, queries)

    def _start(self, encoded: JointTokens, ids: Tensor) -> tuple[Tensor, int]:
        """Queries before the first joint block, of shape (B, n / B, S Q, C), and S."""
        queries = self.queries(ids).to(encoded.tokens.dtype)  # B T Q C
        if self.shared is not None:
            return queries.flatten(1, 2)[:, None], queries.shape[1]
        return queries, 1

    def _joined(self, queries: Tensor, encoded: JointTokens) -> Tensor:
        """Queries (B, n / B, S Q, C) and patches of their images: (n, S Q + P + h w, C)."""
        patches = encoded.tokens[:, None].expand(-1, queries.shape[1], -1, -1)
        return torch.cat([queries, patches], 2).flatten(0, 1)

    def _masks(self, tokens: Tensor, S: int, grid: tuple[int, int]) -> Tensor:
        """Mask logits (n, S Q, 4 h, 4 w) of normalised tokens."""
        output = self.read(tokens, S, grid)
        return torch.einsum('nqc,nchw->nqhw', output.mask_embeds, output.mask_features)

    def _predict_one_by_one(
        self, queries: Tensor, S: int, encoded: JointTokens
    ) -> tuple[Tensor, Tensor]:
        """Queries (n, S Q, C) after the last block, and their mask logits (n, S Q, 4 h, 4 w).

        A CPU gains nothing by larger products, so it holds one sequence at a time, and of its last
        mask features a band of rows. Where queries look inside their masks, there are the whole
        features of a sequence before each block.
        """
        ends, logits = torch.empty_like(queries), None
        of_image = len(queries) // len(encoded.tokens)
        for i, start in enumerate(queries.split(1)):
            patches = encoded.tokens[i // of_image][None]
            tokens = self._run(torch.cat([start, patches], 1), S, encoded)
            end = tokens[0, : start.shape[1]]
            ends[i] = end
            embeds = self.mask_embed(end)
            if logits is None:
                size = [side << len(self.upscale) for side in encoded.grid]
                logits = embeds.new_empty(*queries.shape[:2], *size)
            row = 0
            for band in self.upscale.bands(self._patches(tokens, encoded.grid)):
                rows = logits[i, :, row : row + band.shape[1]]
                rows.copy_(torch.einsum('qc,nhwc->qhw', embeds, band))
                row += band.shape[1]
        assert logits is not None
        return ends, logits

    def _run(
        self, tokens: Tensor, S: int, encoded: JointTokens, outputs: list[Output] | None = None
    ) -> Tensor:
        """Normalised tokens after the joint blocks; ``outputs`` gets what is read before each."""
        vit = encoded.vit
        self._check_annealing(vit.num_joint_blocks)
        for layer in range(vit.num_joint_blocks):
            block, output = vit.depth - vit.num_joint_blocks + layer, None
            if outputs is not None or self.is_masked(layer):
                output = self.read(vit.norm(tokens), S, encoded.grid)
            if outputs is not None:
                outputs.append(output)
            mask = self.attention_mask(layer, output, tokens, S, encoded.grid)
            del output  # its mask features, before the block
            extra = S * self.num_queries
            tokens = vit.run(tokens, encoded.rope, block, block + 1, mask=mask, extra=extra)
        return vit.norm(tokens)

    def _of_tasks(self, x: Tensor, B: int, T: int) -> Tensor:
        """What n sequences have of S Q queries each, by image and task: (B, T, Q, ...).

        Without a task token it is the same for all tasks.
        """
        if self.shared is None:
            x = x.unflatten(0, (B, -1))
        else:
            x = x.unflatten(1, (-1, self.num_queries))
        return x.expand(-1, T, *[-1] * (x.dim() - 2))

    def _check_annealing(self, blocks: int) -> None:
        if self.mask_annealing is not None and len(self.mask_annealing) != blocks:
            raise ValueError(
                f'panoptic_head.mask_annealing has {len(self.mask_annealing)} spans: it takes one '
                f'for each of {blocks} joint blocks (backbone.num_joint_blocks)'
            )

    def _decoded(self, outputs: Sequence[Output], B: int, T: int) -> Decoded:
        """All outputs by image and task."""

        def of_queries(x: Tensor) -> Tensor:
            return self._of_tasks(x, B, T)

        queries = [of_queries(output.queries) for output in outputs]
        features = [output.mask_features for output in outputs]
        return Decoded(
            torch.stack([self.cls_embed(of_output) for of_output in queries]),
            torch.stack([of_queries(output.mask_embeds) for output in outputs]),
            features if self.shared is not None else [self._of_images(x, B, T) for x in features],
            # before the first block the queries have not met the image
            initial_queries=queries[min(1, len(queries) - 1)],
            object_queries=queries[-1],
        )

    def _of_images(self, x: Tensor, B: int, T: int) -> Tensor:
        """Mask features of n sequences by image and task: (B, T, C, h, w)."""
        return x.unflatten(0, (B, -1)).expand(-1, T, -1, -1, -1)

    def queries(self, tasks: Tasks) -> Tensor:
        """Queries of the tasks of each image: of shape (B, T, Q, C), T = 1 without a task token.

        Raises:
            ValueError: For a word that is not a task.
        """
        embed = self.query_embed.weight
        ids = token_ids(tasks, embed.device)
        if self.task_queries is None:
            return embed.expand(ids.shape[0], 1, -1, -1)
        return self.task_queries(ids)[:, :, None] + embed

    def read(self, tokens: Tensor, S: int, grid: tuple[int, int]) -> Output:
        """Read masks from normalised tokens (n, S Q + P + h w, C)."""
        queries, patches = tokens[:, : S * self.num_queries], self._patches(tokens, grid)
        if self.with_cp and torch.is_grad_enabled():
            features = recompute(self.upscale, patches)
        else:
            features = self.upscale(patches)
        return Output(queries, self.mask_embed(queries), features.permute(0, 3, 1, 2))

    @staticmethod
    def _patches(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches (n, h, w, C) of tokens."""
        h, w = grid
        return tokens[:, -h * w :].unflatten(1, grid)

    def is_masked(self, layer: int) -> bool:
        """Whether queries look inside their masks in a joint block, some of them at least."""
        return self.mask_annealing is None or not self.mask_annealing.is_gone(layer)

    @torch.no_grad()
    def attention_mask(
        self, layer: int, output: Output | None, tokens: Tensor, S: int, grid: tuple[int, int]
    ) -> Tensor | None:
        """Where tokens (n, N, C) may look: queries at patches of their masks, all else anywhere.

        With shared patches, queries do not look at those of other tasks either, and nothing else
        looks at queries.

        Returns:
            Bool of shape (n, 1, N, N), True where attention is allowed; None for everywhere.
        """
        inside = None
        if output is not None and self.is_masked(layer):
            # bilinear resizing and the product over channels commute: not Q masks are resized
            shrunk = F.interpolate(output.mask_features, size=grid, mode='bilinear')
            inside = torch.einsum('nqc,nchw->nqhw', output.mask_embeds, shrunk).flatten(2) > 0
        if self.mask_annealing is not None:
            inside = self.mask_annealing.keep(layer, inside)
        if inside is None and self.shared is None:
            return None
        n, N, _ = tokens.shape
        count = S * self.num_queries
        task = torch.arange(count, device=tokens.device) // self.num_queries  # of each query
        own = task[:, None] == task

        def everywhere(rows: int, columns: int) -> Tensor:
            return own.new_ones(1, 1).expand(n, rows, columns)

        if inside is None:
            inside = everywhere(count, grid[0] * grid[1])
        prefix = everywhere(count, N - count - inside.shape[-1])
        of_queries = torch.cat([own.expand(n, -1, -1), prefix, inside], 2)
        of_others = everywhere(N - count, N)
        if self.shared is not None:  # they do not look at queries
            of_others = (torch.arange(N, device=tokens.device) >= count).expand(n, N - count, -1)
        return torch.cat([of_queries, of_others], 1)[:, None]
