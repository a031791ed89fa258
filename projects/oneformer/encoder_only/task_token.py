"""What a task word adds to the queries.

Shapes: B images, T tasks per image, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..tasks import CONTEXT_LENGTH


class TaskToken(nn.Module):
    """The MLP of OneFormer's task token, with a norm of its own.

    The last layer starts at zero, so a model that starts from EoMT's weights begins with EoMT's
    outputs, and learns from the first step on what its task changes in them.

    Args:
        embed_dims: C.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.first = nn.Linear(CONTEXT_LENGTH, embed_dims)
        self.norm = nn.LayerNorm(embed_dims)
        self.last = nn.Linear(embed_dims, embed_dims)
        self.init_weights()

    def init_weights(self) -> None:
        """Put the last layer to zero."""
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, ids: Tensor) -> Tensor:
        """Encode the tasks asked of each image, in float32.

        Args:
            ids: Ids of the words, up to 49407, which are the numbers that the MLP reads, as in
                OneFormer, of shape (B, T, 77), float32.

        Returns:
            Tensor of shape (B, T, C).
        """
        with torch.autocast(ids.device.type, enabled=False):
            return self.last(self.norm(F.relu(self.first(ids))))
