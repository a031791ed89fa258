"""Attention and post-norm decoder layers of both transformers (Sec. 3.2 and 3.4).

Same function and parameter names as mmdet's ``DetrTransformerDecoderLayer``, with two differences:
attention is fused and never returns weights, and keys and values are projected by a separate call,
so that several tasks share those of one image.

Shapes: B images, Q queries, N memory positions, C channels, M heads.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..kernels.chunks import by_chunks
from ..kernels.dropout import dropout, relu_dropout
from ..kernels.position_attention import PositionMemory, attend_positions

KeyValue = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Multi-head attention with the parameters of ``nn.MultiheadAttention``.

    Args:
        embed_dims: C.
        num_heads: M, a divisor of C.
        dropout: Rate of the attention weights, in training.
    """

    def __init__(self, embed_dims: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(embed_dims, num_heads, dropout, batch_first=True)

    def heads(self, x: Tensor) -> Tensor:
        """Split (B, N, C) into (B, M, N, C / M), a view."""
        return x.unflatten(-1, (self.attn.num_heads, -1)).transpose(1, 2)

    def project(self, key: Tensor, value: Tensor) -> KeyValue:
        """Project a memory once, for any number of calls of ``forward``.

        Args:
            key: Tensor of shape (B, N, C), positional encoding included.
            value: Tensor of shape (B, N, C).

        Returns:
            Keys and values of shape (B, M, N, C / M).
        """
        _, weight_k, weight_v = self.attn.in_proj_weight.chunk(3)
        _, bias_k, bias_v = self.attn.in_proj_bias.chunk(3)
        return (
            self.heads(F.linear(key, weight_k, bias_k)),
            self.heads(F.linear(value, weight_v, bias_v)),
        )

    def forward(
        self, query: Tensor, memory: KeyValue | PositionMemory, mask: Tensor | None = None
    ) -> Tensor:
        """Attend from queries to a projected memory.

        Args:
            query: Tensor of shape (B, Q, C), positional encoding included.
            memory: What ``project`` returned, or a ``PositionMemory``, which takes no mask.
            mask: Bool of shape (B, Q, N), True where attention is allowed. Every row needs a True.

        Returns:
            Of shape (B, Q, C), without residual.
        """
        C = query.shape[-1]
        projected = self.heads(
            F.linear(query, self.attn.in_proj_weight[:C], self.attn.in_proj_bias[:C])
        )  # B M Q C/M
        rate = self.attn.dropout if self.training else 0.0
        if isinstance(memory, PositionMemory):
            attended = attend_positions(projected, memory, rate)
        else:
            mask = None if mask is None else mask[:, None]
            attended = F.scaled_dot_product_attention(projected, *memory, mask, rate)
        return self.attn.out_proj(attended.transpose(1, 2).flatten(2))


class FeedForward(FFN):
    """mmcv's network of two linear layers with a ReLU, whose dropout needs less time and memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Update features of any shape (..., C), residual included."""
        (first, activation, inner), second, outer = self.layers
        if not isinstance(activation, nn.ReLU):
            return super().forward(x)

        def update(part: Tensor) -> Tensor:
            if not self.training and not torch.is_grad_enabled():
                return part + second(first(part).relu_())
            hidden = relu_dropout(first(part), inner.p, self.training)
            return part + dropout(second(hidden), outer.p, self.training)

        return by_chunks(update, x, self.training)


class DecoderLayer(BaseModule):
    """One post-norm layer: two attentions in the given order, then a feed-forward network.

    Args:
        embed_dims: C.
        num_heads: M.
        feedforward_channels: Inner width of the feed-forward network.
        dropout: Rate of attention weights, residuals and inside the feed-forward network.
        order: ``('self', 'cross')`` as in DETR, or ``('cross', 'self')`` as in Mask2Former.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        dropout: float,
        order: Sequence[str],
    ) -> None:
        super().__init__()
        self.order = tuple(order)
        self.self_attn = Attention(embed_dims, num_heads, dropout)
        self.cross_attn = Attention(embed_dims, num_heads, dropout)
        self.dropout_rate = dropout
        self.ffn = FeedForward(embed_dims, feedforward_channels, ffn_drop=dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(embed_dims) for _ in range(3))

    def forward(
        self,
        query: Tensor,
        query_pos: Tensor,
        memory: KeyValue | PositionMemory,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Update the queries of T tasks over one memory per image.

        Self-attention stays inside a task. Cross-attention treats every query alone, so the tasks
        of an image are laid side by side there and nothing of the memory is copied.

        Args:
            query: Tensor of shape (B, T, Q, C).
            query_pos: Tensor of shape (Q, C), added to queries and to keys of self-attention.
            memory: Projected by ``cross_attn.project``, or positions.
            mask: Bool of shape (B, T, Q, N), True where cross-attention is allowed.

        Returns:
            Of shape (B, T, Q, C).
        """
        B, T = query.shape[:2]
        for attention, norm in zip(self.order, self.norms):
            positioned = query + query_pos
            if attention == 'cross':
                flat_mask = None if mask is None else mask.flatten(1, 2)
                update = self.cross_attn(positioned.flatten(1, 2), memory, flat_mask)
                update = update.unflatten(1, (T, -1))  # B T Q C
            else:
                positioned, plain = positioned.flatten(0, 1), query.flatten(0, 1)
                update = self.self_attn(positioned, self.self_attn.project(positioned, plain))
                update = update.unflatten(0, (B, T))  # B T Q C
            query = norm(query + dropout(update, self.dropout_rate, self.training))
        return self.norms[2](self.ffn(query))


class Decoder(BaseModule):
    """A stack of decoder layers and the final norm that all their outputs share.

    Args:
        num_layers: Number of layers.
        order: Order of the two attentions, see ``DecoderLayer``.
        embed_dims: C.
        num_heads: M.
        feedforward_channels: Inner width of the feed-forward networks.
        dropout: See ``DecoderLayer``.
    """

    def __init__(
        self,
        num_layers: int,
        order: Sequence[str],
        embed_dims: int = 256,
        num_heads: int = 8,
        feedforward_channels: int = 2048,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(embed_dims, num_heads, feedforward_channels, dropout, order)
            for _ in range(num_layers)
        )
        self.post_norm = nn.LayerNorm(embed_dims)

    def init_weights(self) -> None:
        """Xavier-uniform for every matrix, as in DETR and the original."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        widths: Widths of input, hidden and output layers.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., first width) to (..., last width)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)
