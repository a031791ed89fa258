"""Deformable attention in plain torch, and its gradients without autograd.

What stands in for the Triton kernel on a CPU, and what it is compared with on a GPU.

Shapes: B images, N tokens, M heads, L levels, P points of a level, D channels of a head.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention_levels import Levels, find_samples


class _Level(NamedTuple):
    """What is sampled of a level, for all images and heads.

    Attributes:
        pixels: Values of shape (B * M, D, h, w).
        places: (x, y) in [-1, 1] inside, of shape (B * M, N, P, 2).
        weights: Softmax of the scores, of shape (B * M, N, P).
        sampled: Samples of shape (B * M, D, N, P).
    """

    pixels: Tensor
    places: Tensor
    weights: Tensor
    sampled: Tensor


def type_of_sums(*tensors: Tensor) -> torch.dtype:
    """Type in which inputs are added: float32, or float64 if one is."""
    return torch.float64 if torch.float64 in {t.dtype for t in tensors} else torch.float32


def _levels_of(value: Tensor, numbers: Tensor, sizes: Tensor, num_points: int) -> Iterator[_Level]:
    kind = type_of_sums(value, numbers)
    levels = Levels.of([(h, w) for h, w in sizes.tolist()], value.device)
    places, weights = find_samples(numbers.to(kind), levels, value.shape[2], num_points)
    places = (2 * places - 1).transpose(1, 2).flatten(0, 1)  # BM N L P 2
    weights = weights.transpose(1, 2).flatten(0, 1)
    parts = value.to(kind).split([h * w for h, w in levels.shapes], 1)
    for i, (shape, part) in enumerate(zip(levels.shapes, parts)):
        pixels = part.permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, shape)
        sampled = F.grid_sample(pixels, places[:, :, i], align_corners=False)
        yield _Level(pixels, places[:, :, i], weights[:, :, i], sampled)


def plain_attention(value: Tensor, numbers: Tensor, sizes: Tensor, num_points: int) -> Tensor:
    """The operator ``oneformer::deformable_attention``; see there. Reads ``sizes``."""
    B, N, M, D = value.shape
    sums = value.new_zeros(B * M, D, N, dtype=type_of_sums(value, numbers))
    for level in _levels_of(value, numbers, sizes, num_points):
        sums = sums + (level.sampled * level.weights[:, None]).sum(-1)
    return sums.view(B, M, D, N).permute(0, 3, 1, 2).to(value.dtype).contiguous()


def plain_gradients(
    value: Tensor, numbers: Tensor, sizes: Tensor, gradient: Tensor, num_points: int
) -> tuple[Tensor, Tensor]:
    """Gradients of value and numbers, from that of the output."""
    B, N, M, _ = value.shape
    upstream = gradient.to(type_of_sums(value, numbers)).permute(0, 2, 3, 1).flatten(0, 1)
    upstream = upstream[..., None]  # BM D N 1
    values, offsets, samples, weights = [], [], [], []
    for level in _levels_of(value, numbers, sizes, num_points):
        per_pixel, per_place = torch.ops.aten.grid_sampler_2d_backward(
            upstream * level.weights[:, None], level.pixels, level.places, 0, 0, False, [True, True]
        )
        values.append(per_pixel.flatten(2))
        # an offset of a pixel moves a place by 2 / (w, h)
        offsets.append(per_place * 2 / per_place.new_tensor(level.pixels.shape[:1:-1]))
        samples.append((level.sampled * upstream).sum(1))
        weights.append(level.weights)
    shares, per_sample = torch.cat(weights, 2), torch.cat(samples, 2)  # BM N LP
    scores = shares * (per_sample - (shares * per_sample).sum(-1, keepdim=True))

    def by_token(tensor: Tensor) -> Tensor:
        """(B * M, N, ...) as (B, N, M * ...)."""
        return tensor.unflatten(0, (B, M)).transpose(1, 2).flatten(2)

    value_gradient = by_token(torch.cat(values, 2).mT).view(value.shape)
    numbers_gradient = torch.cat([by_token(torch.stack(offsets, 2)), by_token(scores)], 2)
    return value_gradient.to(value.dtype), numbers_gradient.to(numbers.dtype)
