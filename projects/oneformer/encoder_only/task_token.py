"""What a task word adds to the queries.

Shapes: B images, T tasks per image, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.task_queries import Tasks, token_ids
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

    def forward(self, tasks: Tasks) -> Tensor:
        """Encode the tasks asked of each image, in float32.

        The ids of the words, up to 49407, are the numbers that the MLP reads, as in OneFormer.

        Args:
            tasks: Task words of each image, the same number T for all, or their ids, see
                ``task_queries.token_ids``.

        Returns:
            Tensor of shape (B, T, C).

        Raises:
            ValueError: For a word that is not a task.
        """
        device = self.first.weight.device
        with torch.autocast(device.type, enabled=False):
            return self.last(self.norm(F.relu(self.first(token_ids(tasks, device)))))
