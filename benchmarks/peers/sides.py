"""Make two sides equal, and tell whether they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch import Tensor, nn

from ..timing import ResultsDiffer
from .hugging_face import renamed_weights


def share_weights(ours: nn.Module, peer: nn.Module) -> None:
    """Load all that a peer has into ours.

    Raises:
        RuntimeError: If Hugging Face's model has less or more than ours, or if mmdet's lacks a
            tensor of backbone, pixel decoder or masked-attention layers.
    """
    if type(peer).__name__ == 'Mask2Former':
        weights = dict(peer.state_dict())
        del weights['panoptic_head.query_feat.weight']  # ours asks the task for initial queries
        may_lack = ('panoptic_head.task_queries.', 'text_mapper.', 'contrastive_loss.')
    else:
        weights = renamed_weights(peer.state_dict())
        may_lack = ()
    missing, unexpected = ours.load_state_dict(weights, strict=False)
    missing = [
        name
        for name in missing
        if not name.startswith(may_lack) and not name.endswith('relative_position_index')
    ]
    if missing or unexpected:
        raise RuntimeError(f'{type(peer).__name__}: missing {missing}, unexpected {unexpected}')


@contextmanager
def same_points(ours: nn.Module) -> Iterator[None]:
    """Let all criterions sample masks at the same points wherever they draw some."""
    generator = torch.Generator().manual_seed(5)
    sets: dict[int, Tensor] = {}

    draw_others = torch.rand

    def rand(*size, device=None, **options) -> Tensor:
        shape = size[0] if len(size) == 1 else size
        if len(shape) != 3:  # which masks an EoMT in training drops
            return draw_others(shape, device=device, **options)
        num_sets, num_points, _ = shape
        if num_points not in sets:
            draw = torch.empty(1, num_points, 2).uniform_(generator=generator)
            sets[num_points] = draw.to(device or 'cpu')
        return sets[num_points].repeat(num_sets, 1, 1)

    def sample_points(num_sets, num_points, device, *_) -> Tensor:
        return rand(num_sets, num_points, 2, device=device)

    with (
        mock.patch.object(torch, 'rand', rand),
        mock.patch.object(ours.criterion, 'sample_points', sample_points),
    ):
        yield


def check_close(name: str, ours: Tensor, peer: Tensor, atol: float = 1e-2) -> None:
    """Compare logits.

    Where a mask logit is zero but for rounding, the sides may disagree about a bit of an attention
    mask, which moves a whole query a little. So one logit in a hundred may differ by more.

    Raises:
        ResultsDiffer: If shapes or more logits differ.
    """
    if ours.shape != peer.shape:
        raise ResultsDiffer(f"{name}: ours are {tuple(ours.shape)}, the peer's {tuple(peer.shape)}")
    far = ((ours - peer).abs() > atol).double().mean().item()
    if not far <= 0.01:  # also nan
        raise ResultsDiffer(f'{name}: {far:.1%} of the logits differ by more than {atol}')
