"""Parts of a model that ablations put in the place of the paper's.

They are for ``oneformer study ablations``; its configs import this module.

Shapes: B images, T tasks per image, Q queries, C channels, K classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..models.task_queries import TaskQueries, Tasks, token_ids
from ..tasks import TASKS, Prompts

_ZEROS, _LEARNED = 'zeros', 'learned'


@MODELS.register_module()
class ConstantToken(TaskQueries):
    """Task queries whose token is the same for every task (Table 4, without a task token).

    Args:
        token: ``'zeros'``, or ``'learned'``, one vector that is trained and normalised as the task
            token is.
        **kwargs: Arguments of ``TaskQueries``.
    """

    def __init__(self, token: str, **kwargs) -> None:
        super().__init__(**kwargs)
        if token not in (_ZEROS, _LEARNED):
            raise ValueError(f'task_queries.token is {token!r}: it takes {_ZEROS} or {_LEARNED}')
        self.width = self.feature_proj.out_channels
        self.token = nn.Parameter(torch.randn(self.width)) if token == _LEARNED else None
        del self.task_mlp

    def task_tokens(self, tasks: Tasks, norm: nn.LayerNorm) -> Tensor:
        """One token (B, T, C) for all tasks."""
        device = self.feature_proj.weight.device
        B, T = token_ids(tasks, device).shape[:2]
        if self.token is None:
            return torch.zeros(B, T, self.width, device=device)
        return norm(self.token).expand(B, T, -1)


@MODELS.register_module()
class ZeroStart(TaskQueries):
    """Task queries that start from zeros, with the task token behind (Table 4, query init)."""

    def start(self, tokens: Tensor) -> Tensor:
        """Zeros of shape (B, T, 1, C)."""
        return torch.zeros_like(tokens)


@MODELS.register_module()
class LearnedQueries(BaseModule):
    """Mask2Former's queries: learned, without image and task (Table 7).

    Args:
        embed_dims: C.
        num_queries: Q.
    """

    def __init__(self, embed_dims: int, num_queries: int) -> None:
        super().__init__()
        self.query_feat = nn.Embedding(num_queries, embed_dims)

    def task_tokens(self, tasks: Tasks, norm: nn.LayerNorm) -> Tensor:
        """Nothing but the numbers B and T: zeros (B, T, C)."""
        weight = self.query_feat.weight
        ids = token_ids(tasks, weight.device)
        return weight.new_zeros(*ids.shape[:2], weight.shape[1])

    def forward(self, task_tokens: Tensor, mask_features: Tensor, query_pos: Tensor) -> Tensor:
        """The same queries (B, T, Q, C) for all images and tasks."""
        return self.query_feat.weight.expand(*task_tokens.shape[:2], -1, -1)


@MODELS.register_module()
class PromptClasses(BaseModule):
    """In the place of the text mapper: the class that each prompt of an image names.

    Args:
        num_texts: Number of prompts, which the model fills in.
        classes: Names of the classes.
        num_context: 0, since there is nothing to learn.
        embed_dims: C, of the queries.
        prompts: Arguments of ``Prompts``, those of the pipeline.
    """

    def __init__(
        self,
        num_texts: int,
        classes: Sequence[str],
        num_context: int = 0,
        embed_dims: int = 256,
        prompts: dict | None = None,
    ) -> None:
        super().__init__()
        if num_context:
            raise ValueError(f'text_mapper.num_context is {num_context}: PromptClasses takes 0')
        self.num_texts = num_texts
        self.context = nn.Embedding(0, embed_dims).requires_grad_(False)  # tells the width
        words = Prompts(**(prompts or {}))
        self.class_of = {words.targets([k], classes)[0]: k for k in range(len(classes))}
        self.class_of.update((words.filler_of(task), len(classes)) for task in TASKS)

    def forward(self, texts: Sequence[Sequence[str]], fillers: Sequence[str]) -> Tensor:
        """Class of each prompt (B, Q), int64; K for fillers."""
        rows = [
            [*prompts, *[filler] * self.num_texts][: self.num_texts]
            for prompts, filler in zip(texts, fillers)
        ]
        classes = [[self.class_of[prompt] for prompt in row] for row in rows]
        return torch.tensor(classes, device=self.context.weight.device)


@MODELS.register_module()
class QueryClassificationLoss(nn.Module):
    """In the place of the contrastive loss: each initial query names the class of its prompt.

    As the contrastive loss it pairs query and prompt by their place (Table 5, which does not tell
    more of the loss that it compares with).

    Args:
        num_classes: K.
        embed_dims: C.
        loss_weight: 0.5, that of the contrastive loss.
        no_object_weight: Weight of fillers, that of the other losses.
    """

    needs_keys = False

    def __init__(
        self,
        num_classes: int,
        embed_dims: int,
        loss_weight: float = 0.5,
        no_object_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.classifier = nn.Linear(embed_dims, num_classes + 1)
        self.loss_weight = loss_weight
        self.register_buffer('class_weights', torch.ones(num_classes + 1), persistent=False)
        self.class_weights[-1] = no_object_weight

    def forward(self, object_queries: Tensor, classes: Tensor, keys: None = None) -> Tensor:
        """A weighted mean over queries (B, Q, C) of which the classes (B, Q) are known."""
        logits = self.classifier(object_queries.float())
        return self.loss_weight * F.cross_entropy(
            logits.flatten(0, 1), classes.flatten(), self.class_weights
        )
