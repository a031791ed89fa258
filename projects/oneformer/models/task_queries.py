"""Sec. 3.2, query representations: a task word becomes the initial object queries.

Shapes: B images, T tasks per image, Q queries, C channels, h x w the 1/4-resolution grid.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule, caffe2_xavier_init
from torch import Tensor, nn

from ..host.transfers import send
from ..kernels.position_attention import PositionMemory
from ..kernels.positional_encoding import axis_code, project_position
from ..tasks import CONTEXT_LENGTH, TASK_TOKEN_IDS, check_task
from .transformer import MLP, Attention, Decoder

Tasks: TypeAlias = Sequence[Sequence[str]] | Tensor


def token_ids(tasks: Tasks, device: torch.device) -> Tensor:
    """Ids of task strings as numbers, of shape (B, T, 77), float32.

    Args:
        tasks: Task words of each image, the same number T for all, or their ids already.
        device: Device of the result.

    Raises:
        ValueError: For a word that is not a task.
    """
    if isinstance(tasks, Tensor):
        return tasks
    ids = [[TASK_TOKEN_IDS[check_task(task)] for task in words] for words in tasks]
    return send(torch.tensor(ids, dtype=torch.float32), device)


@MODELS.register_module()
class TaskQueries(BaseModule):
    """Task token, and the two-layer query transformer that starts from it.

    Args:
        embed_dims: C.
        num_layers: Layers of the query transformer.
        num_heads: Attention heads of its layers.
        feedforward_channels: Hidden channels of its layers.
        dropout: Its dropout; 0.1 in every model of the original.
    """

    def __init__(
        self,
        embed_dims: int = 256,
        num_layers: int = 2,
        num_heads: int = 8,
        feedforward_channels: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.task_mlp = MLP(CONTEXT_LENGTH, embed_dims, embed_dims)
        self.feature_proj = nn.Conv2d(embed_dims, embed_dims, 1)
        self.query_transformer = Decoder(
            num_layers, ('self', 'cross'), embed_dims, num_heads, feedforward_channels, dropout
        )

    def init_weights(self) -> None:
        """Initialise as the original does."""
        super().init_weights()
        caffe2_xavier_init(self.feature_proj)

    def task_tokens(self, tasks: Tasks, norm: nn.LayerNorm) -> Tensor:
        """Encode the tasks asked of each image.

        The original feeds the raw token ids, up to 49407, to the MLP as numbers. Half precision
        would round them, so this runs in float32 also under autocast. It then normalises with the
        decoder's own final norm: there is no norm of the task alone.

        Args:
            tasks: Task words of each image, the same number T for all, or their ids, see
                ``token_ids``.
            norm: The final norm of the masked decoder.

        Returns:
            Tensor of shape (B, T, C).

        Raises:
            ValueError: For a word that is not a task.
        """
        device = self.task_mlp.layers[0].weight.device
        with torch.autocast(device.type, enabled=False):
            return norm(self.task_mlp(token_ids(tasks, device)))

    def forward(self, task_tokens: Tensor, mask_features: Tensor, query_pos: Tensor) -> Tensor:
        """Initialise object queries from task tokens and 1/4-scale features.

        Args:
            task_tokens: Task tokens of shape (B, T, C).
            mask_features: Mask features of shape (B, C, h, w).
            query_pos: Query embeddings of shape (Q, C).

        Returns:
            Tensor of shape (B, T, Q, C), the task token itself as the last query.
        """
        pixels = mask_features.flatten(2).mT  # B hw C
        size = tuple(mask_features.shape[-2:])
        tokens = task_tokens[:, :, None]  # B T 1 C
        queries = self.start(tokens).expand(-1, -1, len(query_pos) - 1, -1)
        for layer in self.query_transformer.layers:
            queries = layer(queries, query_pos[:-1], self._memory(layer.cross_attn, pixels, size))
        return torch.cat([self.query_transformer.post_norm(queries), tokens], dim=2)

    def start(self, tokens: Tensor) -> Tensor:
        """What every query is before the query transformer: the task token (B, T, 1, C)."""
        return tokens

    def _memory(
        self, attention: Attention, pixels: Tensor, size: tuple[int, int]
    ) -> PositionMemory:
        """Project what the queries attend to.

        The keys see positional encoding and image features, the *values* the positional encoding
        alone: the original swaps the two arguments, and its checkpoints are trained this way.

        Two linear layers in a row are one, and of the positional encoding neither the keys nor the
        values need more than its rows and columns. The values are the same for all images.

        Args:
            attention: Attention whose keys and values are wanted.
            pixels: Image features of shape (B, h * w, C).
            size: Size of the features, (h, w).
        """
        _, weight_k, weight_v = attention.attn.in_proj_weight.chunk(3)
        _, bias_k, bias_v = attention.attn.in_proj_bias.chunk(3)
        h, w = size
        half = weight_v.shape[1] // 2
        with torch.autocast(pixels.device.type, enabled=False):
            weight = weight_k @ self.feature_proj.weight.flatten(1)
            bias = weight_k @ self.feature_proj.bias + bias_k
            key_position = project_position(h, w, weight_k, bias)
            rows = axis_code(h, half, pixels.device) @ weight_v[:, :half].mT  # h C
            columns = axis_code(w, half, pixels.device) @ weight_v[:, half:].mT + bias_v  # w C
        key = F.linear(pixels, weight)
        key = attention.heads(key + key_position.to(key.dtype))
        return PositionMemory(
            key, *(attention.heads(part.to(key.dtype)[None])[0] for part in (rows, columns))
        )
