"""Weights that hold what a training changed in those of a backbone, as EoMT publishes DINOv3's.

DINOv3's licence lets its weights go only to those who agree to it, so EoMT's files lack them.
"""

import os
from collections.abc import Mapping, Sequence

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..host.errors import CheckpointError, key_list
from .reading import PREFIX, Weights, read
from .sources import Source

BASE = 'ONEFORMER_DINOV3'  # environment variable: what is added to a difference
WHOLE = 'none'  # said of a file that has the names of a difference, and is none


def add_known_base(weights: Weights) -> None:
    """Add the weights of ``ONEFORMER_DINOV3`` to a difference, in place; others stay as they are.

    Raises:
        CheckpointError: If it does not say where they are, or see ``add_base``.
    """
    if not may_be_difference(weights) or weights.base is not None:
        return
    base = os.environ.get(BASE)
    if not base:
        raise CheckpointError(
            f'{weights.path} holds what EoMT changed in the weights of DINOv3, which are added '
            f'when it is used: export {BASE}=DINOV3, where DINOV3 is the file, folder or URL of '
            'the network that it was trained from, which Meta gives to those who accept its '
            'licence. '
            f'If it is of a training of yours and whole: export {BASE}={WHOLE}'
        )
    add_base(weights, base)


def may_be_difference(weights: Weights) -> bool:
    """Whether weights have the names of the authors' EoMT on DINOv3."""
    return weights.layout == 'eomt' and 'backbone.pos_embed' not in weights.tensors


def add_base(weights: Weights, base: Source, trust: bool = False) -> None:
    """Add the weights of a backbone to what a training changed in them, in place.

    Args:
        weights: The difference.
        base: Whatever ``weights.read`` takes; ``WHOLE`` to take the weights as they are.
        trust: See ``read``.

    Raises:
        CheckpointError: If the weights are not a difference, or the backbone is another one.
    """
    if not may_be_difference(weights):
        raise CheckpointError(
            f'{weights.path} holds whole weights ({weights.layout}): leave out --base'
        )
    weights.base = str(base)
    if weights.base == WHOLE:
        return
    found = read(base, trust).tensors
    inside = [key for key in weights.tensors if key.startswith(PREFIX)]
    missing = [key for key in inside if key not in found]
    misshapen = [
        f'{key}: {tuple(found[key].shape)}, expected {tuple(weights.tensors[key].shape)}'
        for key in inside
        if key in found and found[key].shape != weights.tensors[key].shape
    ]
    lists = [key_list('missing', missing), key_list('of another shape', misshapen)]
    if any(lists):
        title = f'{base} is not what {weights.path} was trained from; its tensors are'
        raise CheckpointError('\n'.join([title, *filter(None, lists)]))
    if _is_whole(weights, found, inside):
        raise CheckpointError(
            f'{weights.path} is nearer to {base} than to zero: it holds whole weights, to which '
            f'nothing is added. Say {WHOLE!r} in its place (--base, or {BASE})'
        )
    print_log(f'{weights.path}: added to the weights of {base}', 'current')
    with torch.no_grad():
        for key in inside:
            weights.tensors[key] = found[key] + weights.tensors[key]


def _is_whole(weights: Weights, base: Mapping[str, Tensor], keys: Sequence[str]) -> bool:
    """Whether tensors are nearer to those of the base than to zero, by the sum of squares."""
    apart = sum((weights.tensors[key] - base[key]).double().square().sum() for key in keys)
    own = sum(weights.tensors[key].double().square().sum() for key in keys)
    return bool(apart < own)
