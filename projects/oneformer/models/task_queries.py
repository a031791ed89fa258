"""Sec. 3.2, query representations: a task word becomes the initial object queries.

Shapes: B images, T tasks per image, Q queries, C channels, h x w the 1/4-resolution grid.
"""

from collections.abc import Sequence

import torch
from mmdet.models.layers import SinePositionalEncoding
from mmengine.model import BaseModule, caffe2_xavier_init
from torch import Tensor, nn

from ..tasks import CONTEXT_LENGTH, TASK_TOKEN_IDS, check_task
from .transformer import MLP, Decoder


class TaskQueries(BaseModule):
    """Task token, and the two-layer query transformer that starts from it.

    Args:
        embed_dims: C.
        num_layers: Of the query transformer.
        num_heads: Of the query transformer.
        feedforward_channels: Of the query transformer.
        dropout: Of the query transformer; 0.1 in every model of the original.
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
        self.class_input_proj = nn.Conv2d(embed_dims, embed_dims, 1)
        self.class_transformer = Decoder(
            num_layers, ('self', 'cross'), embed_dims, num_heads, feedforward_channels, dropout
        )
        self.position_code = SinePositionalEncoding(embed_dims // 2, normalize=True)

    def init_weights(self) -> None:
        """Initialise as the original does."""
        super().init_weights()
        caffe2_xavier_init(self.class_input_proj)

    def task_tokens(self, tasks: Sequence[Sequence[str]], norm: nn.LayerNorm) -> Tensor:
        """Encode the tasks asked of each image.

        The original feeds the raw token ids, up to 49407, to the MLP as numbers. Half precision
        would round them, so this runs in float32 also under autocast. It then normalises with the
        decoder's own final norm: there is no norm of the task alone.

        Args:
            tasks: For each image the same number T of task words.
            norm: The final norm of the masked decoder.

        Returns:
            Of shape (B, T, C).

        Raises:
            ValueError: For a word that is not a task.
        """
        ids = [[TASK_TOKEN_IDS[check_task(task)] for task in words] for words in tasks]
        weight = self.task_mlp.layers[0].weight
        with torch.autocast(weight.device.type, enabled=False):
            ids = torch.tensor(ids, dtype=torch.float32, device=weight.device)  # B T 77
            return norm(self.task_mlp(ids))

    def forward(self, task_tokens: Tensor, mask_features: Tensor, query_pos: Tensor) -> Tensor:
        """Initialise object queries from task tokens and 1/4-scale features.

        The keys see position code and image features, the *values* the position code alone: the
        original swaps the two arguments, and its checkpoints are trained this way.

        Args:
            task_tokens: Of shape (B, T, C).
            mask_features: Of shape (B, C, h, w).
            query_pos: Of shape (Q, C).

        Returns:
            Of shape (B, T, Q, C), the task token itself as the last query.
        """
        position = self.position_code(None, input=mask_features[:1]).flatten(2).mT  # 1 hw C
        position = position.to(mask_features.dtype)
        key = position + self.class_input_proj(mask_features).flatten(2).mT  # B hw C
        value = position.expand_as(key)
        tokens = task_tokens[:, :, None]  # B T 1 C
        queries = tokens.expand(-1, -1, len(query_pos) - 1, -1)
        for layer in self.class_transformer.layers:
            queries = layer(queries, query_pos[:-1], layer.cross_attn.project(key, value))
        return torch.cat([self.class_transformer.post_norm(queries), tokens], dim=2)
