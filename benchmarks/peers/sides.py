"""Make two sides equal, and tell whether they are."""

import io
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
def same_points(ours: nn.Module, seed: int = 5) -> Iterator[None]:
    """Let all criterions sample masks at the same points wherever they draw some."""
    generator = torch.Generator().manual_seed(seed)
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


@contextmanager
def same_texts(ours: nn.Module, text_inputs: Tensor) -> Iterator[None]:
    """Let ours encode what Hugging Face's model gets.

    That builds a causal mask for its texts and never applies it, so zeros behind a text matter.

    Args:
        ours: Our model.
        text_inputs: Token ids (B, N, 77), those of ``hugging_face_inputs``.
    """
    mapper = ours.text_mapper

    def encode(texts, fillers) -> Tensor:
        features = mapper.encode(text_inputs.flatten(0, 1)).unflatten(0, text_inputs.shape[:2])
        return torch.cat([features, mapper.context.weight.expand(len(texts), -1, -1)], 1)

    with (
        mock.patch.object(mapper, 'forward', encode),
        mock.patch.object(mapper.text_encoder, 'causal', False),
    ):
        yield


@contextmanager
def double_precision() -> Iterator[None]:
    """Let float32 mean float64, where both sides cast to it: rounding explains no difference."""
    file = io.BytesIO()  # torch lists its types at the first, by names that change below
    torch.save(torch.zeros(1), file)
    file.seek(0)
    torch.load(file, weights_only=True)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with (
            mock.patch.object(Tensor, 'float', Tensor.double),
            mock.patch.object(torch, 'float32', torch.float64),
            mock.patch.object(torch, 'float', torch.float64),
        ):
            yield
    finally:
        torch.set_default_dtype(default)


def without_dropout(model: nn.Module) -> nn.Module:
    """Switch off what a model drops in training."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if 'drop' in name and isinstance(value, float):
                setattr(module, name, 0.0)
    return model


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
