"""The files of skipped steps: a batch as tensors and plain values, and a look at where it fails.

Shapes: N targets, H x W of an image.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from .errors import CheckpointError
from .float32_products import float32_products
from .seeding import restore_random_states
from .unpickling import plain_values, read_pickle


def pack_batch(data: Mapping) -> list[dict]:
    """A batch of the data loader as tensors and plain values.

    Returns:
        For each image ``input`` (3, H, W), ``metainfo`` and, if it has targets, ``labels`` (N,) and
        ``target_map`` (1, H, W).
    """
    images = []
    for image, sample in zip(data['inputs'], data['data_samples']):
        packed = dict(input=image, metainfo=plain_values(sample.metainfo))
        if 'gt_instances' in sample:
            packed['labels'] = sample.gt_instances.labels
        if 'gt_target_map' in sample:
            packed['target_map'] = sample.gt_target_map.sem_seg
        images.append(packed)
    return images


def unpack_batch(images: list[dict]) -> dict[str, list]:
    """The inverse of ``pack_batch``."""
    samples = []
    for image in images:
        sample = DetDataSample(metainfo=image['metainfo'])
        if 'labels' in image:
            sample.gt_instances = InstanceData(labels=image['labels'])
        if 'target_map' in image:
            sample.gt_target_map = PixelData(sem_seg=image['target_map'])
        samples.append(sample)
    return dict(inputs=[image['input'] for image in images], data_samples=samples)


def read_step(path: Path) -> dict:
    """Read a file of ``FiniteSteps`` without running what it contains.

    Raises:
        CheckpointError: If it is something else.
        OSError: If it cannot be read.
    """
    content = read_pickle(path)
    if not isinstance(content, Mapping) or 'batches' not in content:
        raise CheckpointError(
            f'{path} is not a batch of a skipped step: give work_dir/bad_steps/iter_N/rankR.pth'
        )
    return dict(content)


@dataclass
class Replay:
    """What a forward and a backward pass showed.

    Attributes:
        losses: Losses by name.
        activations: Modules whose output is not finite, in the order of the forward pass.
        gradients: Modules the gradient of whose output is not finite, in the order of the backward
            pass.
        parameters: Names of those whose gradient is not finite.
        anomaly: What autograd says of the first backward function that made a nan.
    """

    losses: dict[str, float] = field(default_factory=dict)
    activations: list[str] = field(default_factory=list)
    gradients: list[str] = field(default_factory=list)
    parameters: list[str] = field(default_factory=list)
    anomaly: str | None = None


def _tensors(value) -> Iterator[Tensor]:
    """Tensors of floats in nested outputs."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, '__dataclass_fields__'):
        yield from _tensors(vars(value))


@contextmanager
def _watched(model: nn.Module, replay: Replay) -> Iterator[None]:
    """Note modules whose outputs, or the gradients of these, are not finite."""
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        kind = f'{name} ({type(module).__name__})'

        def check_gradient(gradient: Tensor) -> None:
            if not gradient.isfinite().all() and kind not in replay.gradients:
                replay.gradients.append(kind)

        def check_output(module: nn.Module, inputs, outputs) -> None:
            for tensor in _tensors(outputs):
                if not tensor.isfinite().all() and kind not in replay.activations:
                    replay.activations.append(kind)
                if tensor.requires_grad:
                    tensor.register_hook(check_gradient)

        handles.append(module.register_forward_hook(check_output))

    for name, module in model.named_modules():
        if name:
            watch(name, module)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def replay_batch(
    model: nn.Module, batch: Mapping, dtype: torch.dtype | None = None, tf32: bool = False
) -> Replay:
    """Run one batch of ``read_step`` forward and backward, twice if there is something to find.

    Args:
        model: Model in training mode, with the weights of the step.
        batch: One of ``read_step(...)['batches']``.
        dtype: Number format of mixed precision, without a loss scale.
        tf32: Whether products of float32 use TF32.
    """
    with float32_products(exact=False) if tf32 else nullcontext():
        return _replay(model, batch, dtype)


def _replay(model: nn.Module, batch: Mapping, dtype: torch.dtype | None) -> Replay:
    replay = Replay()
    buffers = [buffer.clone() for buffer in model.buffers()]
    with _watched(model, replay):
        total, replay.losses = _forward(model, batch, dtype)
        total.backward()
    replay.parameters = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not parameter.grad.isfinite().all()
    ]
    if replay.parameters:
        for buffer, before in zip(model.buffers(), buffers):
            buffer.copy_(before)
        try:
            with torch.autograd.detect_anomaly():
                _forward(model, batch, dtype)[0].backward()
        except RuntimeError as error:
            replay.anomaly = str(error)
    return replay


def _forward(
    model: nn.Module, batch: Mapping, dtype: torch.dtype | None
) -> tuple[Tensor, dict[str, float]]:
    """The sum of the losses, and each by its name."""
    device = next(model.parameters()).device
    restore_random_states(batch['random_state'])
    model.zero_grad()
    with torch.autocast(device.type, dtype, enabled=dtype is not None):
        data = model.data_preprocessor(unpack_batch(batch['images']), True)
        losses = model(**data, mode='loss')
    total, parsed = model.parse_losses(losses)
    return total, {name: value.item() for name, value in parsed.items()}
