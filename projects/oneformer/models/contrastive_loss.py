"""Sec. 3.3: the query-text contrastive loss.

Shapes: B images of this process, W processes, Q queries, C channels.
"""

import math

import torch
import torch.distributed.nn.functional as differentiable
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.dist import get_rank, get_world_size
from torch import Tensor, nn


def gather_with_gradient(x: Tensor) -> Tensor:
    """Concatenate ``x`` of all processes along its first axis; gradients flow back to each."""
    if get_world_size() == 1:
        return x
    return torch.cat(differentiable.all_gather(x.contiguous()))


@MODELS.register_module()
class QueryTextContrastiveLoss(nn.Module):
    """Match each image's initial object queries with its own text queries, and the reverse.

    The whole query set of an image is one vector, so slot q of the queries is compared with slot q
    of the texts, and the logits are one (B W, B W) matrix. With a single image in the global batch
    the loss is exactly zero and teaches nothing.

    Args:
        temperature: Initial value of the learnable temperature.
        loss_weight: 0.5 in the original.
    """

    def __init__(self, temperature: float = 0.07, loss_weight: float = 0.5) -> None:
        super().__init__()
        # of shape (1,), since FSDP does not take parameters without dimensions
        self.logit_scale = nn.Parameter(torch.tensor([math.log(1 / temperature)]))
        self.loss_weight = loss_weight

    def forward(self, object_queries: Tensor, text_queries: Tensor) -> Tensor:
        """Compute the weighted loss in float32.

        Args:
            object_queries: Of shape (B, Q, C), before the masked decoder. B must be the same in
                every process.
            text_queries: Of shape (B, Q, C).

        Returns:
            A scalar: the sum of the two directions, each a mean over the images.
        """
        with torch.autocast(object_queries.device.type, enabled=False):
            queries = F.normalize(object_queries.float().flatten(1), dim=-1)  # B QC
            texts = F.normalize(text_queries.float().flatten(1), dim=-1)  # B QC
            scale = self.logit_scale.exp().clamp(max=100)
            per_query = scale * queries @ gather_with_gradient(texts).mT  # B BW
            per_text = scale * texts @ gather_with_gradient(queries).mT  # B BW
            own = torch.arange(len(queries), device=queries.device) + len(queries) * get_rank()
            loss = F.cross_entropy(per_query, own) + F.cross_entropy(per_text, own)
        return self.loss_weight * loss
