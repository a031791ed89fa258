"""Sec. 3.2, text queries: the prompts of an image become one query each. Training only.

Shapes: B images, N prompts per image (queries minus learned context), D distinct prompts of the
batch, S tokens of the longest of them, C channels.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..host.transfers import send_all
from ..tasks import CONTEXT_LENGTH
from .transformer import MLP, Attention

VOCABULARY_SIZE = 49408


@lru_cache(maxsize=4096)
def token_ids(text: str) -> tuple[int, ...]:
    """CLIP's byte-pair ids of a prompt from start to end token, at most 77, without padding."""
    from mmseg.utils.tokenizer import tokenize

    ids = tokenize(text, CONTEXT_LENGTH)[0]
    return tuple(ids[: int(ids.argmax()) + 1].tolist())


class TextBlock(nn.Module):
    """One pre-norm transformer layer of CLIP's text encoder."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, num_heads)
        self.ln_1 = nn.LayerNorm(width)
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens (B, T, C) of the same shape; a bool mask (1, T, T) is True where they may look."""
        normed = self.ln_1(x)
        x = x + self.attn(normed, self.attn.project(normed, normed), mask)
        hidden = self.c_fc(self.ln_2(x))
        return x + self.c_proj(hidden * torch.sigmoid(1.702 * hidden))  # QuickGELU


class TextEncoder(BaseModule):
    """Causal transformer over token ids; the end token's state is the text's feature.

    Args:
        width: C; one attention head per 64 channels, at least one.
        num_layers: Number of layers.
    """

    causal = True  # Hugging Face forgets the mask; the parity test switches it off

    def __init__(self, width: int = 256, num_layers: int = 6) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(VOCABULARY_SIZE, width)
        self.positional_embedding = nn.Parameter(torch.zeros(CONTEXT_LENGTH, width))
        self.layers = nn.ModuleList(
            TextBlock(width, max(width // 64, 1)) for _ in range(num_layers)
        )
        self.ln_final = nn.LayerNorm(width)

    def init_weights(self) -> None:
        """CLIP's initialisation with the standard deviations of the original."""
        width = self.token_embedding.embedding_dim
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        residual_std = width**-0.5 * (2 * len(self.layers)) ** -0.5
        for layer in self.layers:
            nn.init.normal_(layer.attn.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(layer.attn.attn.out_proj.weight, std=residual_std)
            nn.init.normal_(layer.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(layer.c_proj.weight, std=residual_std)

    def forward(self, ids: Tensor) -> Tensor:
        """Encode token ids.

        Since attention is causal and only the end token is read, zeros behind it change nothing.

        Args:
            ids: Ids of shape (D, S), S at most 77, each row ends in the end token and zeros.

        Returns:
            Tensor of shape (D, C).
        """
        D, S = ids.shape
        x = self.token_embedding(ids) + self.positional_embedding[:S]  # D S C
        mask = torch.ones(1, S, S, dtype=torch.bool, device=ids.device).tril()
        for layer in self.layers:
            x = layer(x, mask if self.causal else None)
        end = ids.argmax(-1)  # the end token has the highest id
        return self.ln_final(x[torch.arange(D, device=ids.device), end])


@MODELS.register_module()
class TextMapper(BaseModule):
    """Prompts of a batch to text queries.

    Args:
        num_texts: N; the model fills in the number of object queries minus ``num_context``.
        num_context: Learned queries appended to those of the prompts, 16 in the original.
        embed_dims: C.
        num_layers: Layers of the text encoder.
    """

    def __init__(
        self,
        num_texts: int,
        num_context: int = 16,
        embed_dims: int = 256,
        num_layers: int = 6,
    ) -> None:
        super().__init__()
        self.num_texts = num_texts
        self.text_encoder = TextEncoder(embed_dims, num_layers)
        self.text_projector = MLP(embed_dims, embed_dims, embed_dims)
        self.context = nn.Embedding(num_context, embed_dims)

    def encode(self, ids: Tensor) -> Tensor:
        """Encode and project token ids (D, S) to text features (D, C)."""
        return self.text_projector(self.text_encoder(ids))

    def forward(self, texts: Sequence[Sequence[str]], fillers: Sequence[str]) -> Tensor:
        """Map each image's prompts to text queries.

        Most prompts of a batch are fillers, so only distinct ones are encoded, and only
        up to the longest of them; gradients of equal prompts add up to the same.

        Args:
            texts: Prompts of each image, one per target, in the order of classes; as in the
                original, what exceeds N is dropped.
            fillers: Prompt of each image for queries without a target.

        Returns:
            Tensor of shape (B, N + context, C), the learned context last.
        """
        index: dict[str, int] = {}  # of the distinct prompts
        gather = torch.empty(len(texts), self.num_texts, dtype=torch.long)
        for row, prompts, filler in zip(gather, texts, fillers):
            wanted = [*prompts[: self.num_texts], filler][: self.num_texts]
            places = [index.setdefault(text, len(index)) for text in wanted]
            row.fill_(places[-1])
            row[: len(places)] = torch.tensor(places)
        ids = nn.utils.rnn.pad_sequence(
            [torch.tensor(token_ids(text)) for text in index], batch_first=True
        )  # D S
        ids, gather = send_all([ids, gather], self.context.weight.device)
        # in float32, since the gradients of hundreds of equal prompts add up here
        features = self.encode(ids).float()  # D C
        context = self.context.weight.expand(len(texts), -1, -1)
        return torch.cat([features[gather], context], dim=1)  # B Q C
