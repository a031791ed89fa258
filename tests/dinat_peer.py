"""Neighbourhood attention pixel by pixel, from its definition, for ours and for Hugging Face's."""

from contextlib import contextmanager
from unittest import mock

import torch
from torch import nn

TINY = dict(
    type='DiNAT',
    embed_dims=16,
    depths=[2, 1, 2, 1],
    num_heads=[1, 2, 4, 8],
    kernel_size=3,
    dilations=[[1, 5], [2], [3, 1], [1]],
    mlp_ratio=2,
    drop_path_rate=0.1,
)


def window(i, size, kernel_size, dilation):
    """Pixels that pixel ``i`` of an axis sees, and which of the 2K - 1 biases each gets."""
    own = list(range(i % dilation, size, dilation))
    position = own.index(i)
    start = min(max(position - kernel_size // 2, 0), len(own) - kernel_size)
    return [(own[j], j - position + kernel_size - 1) for j in range(start, start + kernel_size)]


def slow_logits(query, key, rpb, kernel_size, dilation):
    """From (B, M, H, W, D), query scaled: (B, M, H, W, K * K), pixel by pixel."""
    height, width = query.shape[2:4]
    logits = [
        (query[:, :, y, x] * key[:, :, key_y, key_x]).sum(-1) + rpb[:, bias_y, bias_x]
        for y in range(height)
        for x in range(width)
        for key_y, bias_y in window(y, height, kernel_size, dilation)
        for key_x, bias_x in window(x, width, kernel_size, dilation)
    ]
    return torch.stack(logits, -1).unflatten(-1, (height, width, -1))


def slow_sum(weights, value, kernel_size, dilation):
    """Values (B, M, H, W, D) under weights (B, M, H, W, K * K), pixel by pixel."""
    height, width = value.shape[2:4]
    sums = []
    for y in range(height):
        for x in range(width):
            seen = [
                value[:, :, key_y, key_x]
                for key_y, _ in window(y, height, kernel_size, dilation)
                for key_x, _ in window(x, width, kernel_size, dilation)
            ]
            sums.append((weights[:, :, y, x, :, None] * torch.stack(seen, 2)).sum(2))
    return torch.stack(sums, 2).unflatten(2, (height, width))


def slow_attention(module, x):
    """The module's map of (B, H, W, C), padded as the original pads, from the definition."""
    height, width, channels = x.shape[1:]
    num_heads = len(module.rpb)
    kernel_size = (module.rpb.shape[1] + 1) // 2
    reach = kernel_size * module.dilation
    x = nn.functional.pad(x, (0, 0, 0, max(0, reach - width), 0, max(0, reach - height)))
    query, key, value = module.qkv(x).unflatten(-1, (3, num_heads, -1)).permute(3, 0, 4, 1, 2, 5)
    query = query / (channels // num_heads) ** 0.5
    logits = slow_logits(query, key, module.rpb, kernel_size, module.dilation)
    attended = slow_sum(logits.softmax(-1), value, kernel_size, module.dilation)
    attended = attended.permute(0, 2, 3, 1, 4).flatten(3)
    return module.proj(attended[:, :height, :width])


@contextmanager
def over_slow_loops():
    """Let the DiNAT of transformers, which needs natten, run over the slow loops."""
    from transformers.models.dinat import modeling_dinat

    def heads_first(x):
        # transformers 5 hands over (B, W, H, M, D), although NATTEN takes (B, M, H, W, D)
        return x.permute(0, 3, 2, 1, 4)

    with mock.patch.multiple(
        modeling_dinat,
        requires_backends=lambda *args: None,
        natten2dqkrpb=lambda query, key, *args: slow_logits(
            heads_first(query), heads_first(key), *args
        ),
        natten2dav=lambda weights, value, *args: slow_sum(weights, heads_first(value), *args),
    ):
        yield


def tiny_peer_config():
    """TINY as Hugging Face's config."""
    from transformers import DinatConfig

    return DinatConfig(
        embed_dim=TINY['embed_dims'],
        depths=TINY['depths'],
        num_heads=TINY['num_heads'],
        kernel_size=TINY['kernel_size'],
        dilations=TINY['dilations'],
        mlp_ratio=float(TINY['mlp_ratio']),
        layer_scale_init_value=0.0,
        drop_path_rate=0.0,
        out_features=['stage1', 'stage2', 'stage3', 'stage4'],
    )
