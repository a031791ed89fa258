"""Sec. 3.3: the query-text contrastive loss.

Shapes: B images of this process, W processes, Q queries, C channels, M images in the memory.
"""

import math
import zlib
from collections.abc import Sequence

import torch
import torch.distributed.nn.functional as differentiable
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.dist import all_gather, get_rank, get_world_size
from torch import Tensor, nn

from ..host.transfers import send

_NOBODY = -1  # key of an empty place in the memory


def gather_with_gradient(x: Tensor) -> Tensor:
    """Concatenate ``x`` of all processes along its first axis; gradients flow back to each."""
    if get_world_size() == 1:
        return x
    return torch.cat(differentiable.all_gather(x.contiguous()))


def text_key(texts: Sequence[str], filler: str) -> int:
    """A number from 0 that identifies the texts of an image, in any order, and its filler."""
    return zlib.crc32('\n'.join([*sorted(texts), filler]).encode())


@MODELS.register_module()
class QueryTextContrastiveLoss(nn.Module):
    """Match each image's initial object queries with its own text queries, and the reverse.

    The whole query set of an image is one vector, so slot q of the queries is compared with slot q
    of the texts, and the logits are one (B W, B W + M) matrix. With a single image in the global
    batch and no memory the loss is exactly zero and teaches nothing.

    The memory, which the original does not have, holds both vectors of the last M images of all
    processes, as they were when they were computed: they are candidates, and get no gradient. Those
    with the texts of the image that is compared (the same task and the same classes as often) are
    left out, since they would fit it as well as its own. Within the batch such images do count,
    as in the original, unless ``negatives='other_texts'``. The memory is part of the state dict, so
    that training resumes exactly; checkpoints without it, or with another one, load all the same
    and start with an empty one.

    Args:
        temperature: Initial value of the learnable temperature.
        loss_weight: 0.5 in the original.
        memory: M, 0 as in the original.
        num_features: Q C, needed with a memory.
        projection: Channels of the object queries and C, where they differ: a linear layer, used in
            training alone, brings the queries to the width of the texts.
        negatives: Images of the batch that are candidates: ``'all'`` as in the original, or
            ``'other_texts'``, those with other texts.

    Raises:
        ValueError: For other ``negatives``.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        loss_weight: float = 0.5,
        memory: int = 0,
        num_features: int | None = None,
        projection: tuple[int, int] | None = None,
        negatives: str = 'all',
    ) -> None:
        super().__init__()
        if negatives not in ('all', 'other_texts'):
            raise ValueError(
                f'contrastive_loss.negatives is {negatives!r}: it takes all or other_texts'
            )
        self.negatives = negatives
        self.query_projection = None if projection is None else nn.Linear(*projection)
        # of shape (1,), since FSDP does not take parameters without dimensions
        self.logit_scale = nn.Parameter(torch.tensor([math.log(1 / temperature)]))
        self.loss_weight = loss_weight
        self.memory = memory
        if memory:
            self.register_buffer('memory_queries', torch.zeros(memory, num_features))
            self.register_buffer('memory_texts', torch.zeros(memory, num_features))
            self.register_buffer('memory_keys', torch.full((memory,), _NOBODY))

    @property
    def needs_keys(self) -> bool:
        """Whether it asks which images have the same texts."""
        return bool(self.memory) or self.negatives == 'other_texts'

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        own = dict(self.named_buffers())
        names = ('memory_queries', 'memory_texts', 'memory_keys')
        found = [state_dict.pop(prefix + name, None) for name in names]
        if own:
            fits = all(
                tensor is not None and tensor.shape == own[name].shape
                for name, tensor in zip(names, found)
            )
            if not fits:
                found = [torch.zeros_like(own[name]) for name in names[:2]]
                found.append(torch.full_like(own['memory_keys'], _NOBODY))
            state_dict.update((prefix + name, tensor) for name, tensor in zip(names, found))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(
        self, object_queries: Tensor, text_queries: Tensor, keys: Sequence[int] | None = None
    ) -> Tensor:
        """Compute the weighted loss in float32, and in training remember the batch.

        Args:
            object_queries: Queries of shape (B, Q, C), before the masked decoder; of other channels
                with a projection. B must be the same in every process.
            text_queries: Text queries of shape (B, Q, C).
            keys: Keys of the images, see ``text_key``; needed if ``needs_keys``.

        Returns:
            A scalar: the sum of the two directions, each a mean over the images.
        """
        with torch.autocast(object_queries.device.type, enabled=False):
            object_queries = object_queries.float()
            if self.query_projection is not None:
                object_queries = self.query_projection(object_queries)
            queries = F.normalize(object_queries.flatten(1), dim=-1)  # B QC
            texts = F.normalize(text_queries.float().flatten(1), dim=-1)  # B QC
            scale = self.logit_scale.exp().clamp(max=100)
            all_queries, all_texts = gather_with_gradient(queries), gather_with_gradient(texts)
            per_query = scale * queries @ all_texts.mT  # B BW
            per_text = scale * texts @ all_queries.mT  # B BW
            own = torch.arange(len(queries), device=queries.device) + len(queries) * get_rank()
            if self.needs_keys:
                own_keys = send(torch.tensor(keys), queries.device)
                all_keys = torch.cat(all_gather(own_keys))
            if self.negatives == 'other_texts':
                same = (all_keys == own_keys[:, None]).scatter(1, own[:, None], False)  # B BW
                per_query, per_text = (
                    logits.masked_fill(same, -torch.inf) for logits in (per_query, per_text)
                )
            if self.memory:
                remembered, left_out = self.memory_keys, self.memory_keys == _NOBODY
                left_out = left_out | (remembered == own_keys[:, None])  # B M
                # copies, since the memory changes before the backward pass reads them
                per_query, per_text = (
                    torch.cat(
                        [batch, (scale * x @ old.clone().mT).masked_fill(left_out, -torch.inf)],
                        1,
                    )  # B BW+M
                    for batch, x, old in (
                        (per_query, queries, self.memory_texts),
                        (per_text, texts, self.memory_queries),
                    )
                )
                if self.training:
                    self._remember(all_queries, all_texts, all_keys)
            loss = F.cross_entropy(per_query, own) + F.cross_entropy(per_text, own)
        return self.loss_weight * loss

    @torch.no_grad()
    def _remember(self, *newest: Tensor) -> None:
        """Put the queries, texts and keys (B W, ...) of a batch first; the oldest go."""
        for memory, new in zip((self.memory_queries, self.memory_texts, self.memory_keys), newest):
            memory.copy_(torch.cat([new, memory])[: self.memory])
