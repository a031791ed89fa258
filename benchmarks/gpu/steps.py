"""Training steps as mmengine runs them: that they stay finite, how fast they are, and compiled."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn

from oneformer.kernels.precision import network_precision

from .. import peers
from .report import Check
from .settings import attention, attention_paths

_FINITE_STEPS = 50


def training_step(
    model: nn.Module, forward: Callable[[], Tensor], kind: str, lr: float = 1e-5
) -> tuple[Callable[[], Tensor], OptimWrapper]:
    """A step that returns its loss, and its wrapper of the optimizer."""
    on_gpu = next(model.parameters()).is_cuda
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=0.05, fused=on_gpu)
    if kind in ('bf16', 'fp16'):
        scale = dict(enabled=False) if kind == 'bf16' else 'dynamic'
        dtype = dict(bf16='bfloat16', fp16='float16')[kind]
        wrapper = AmpOptimWrapper(optimizer=optimizer, dtype=dtype, loss_scale=scale)
    else:
        wrapper = OptimWrapper(optimizer=optimizer)

    def step() -> Tensor:
        with wrapper.optim_context(model):
            loss = forward()
        wrapper.update_params(loss)
        return loss.detach()

    return step, wrapper


def forward_pass(
    side: str, model: nn.Module, batch: peers.Batch, shape: peers.Shape
) -> Callable[[], Tensor]:
    """The forward pass of 'ours', 'hf' or 'mask2former'; returns the sum of its losses."""
    if side == 'hf':
        inputs = peers.hugging_face_inputs(batch.images, peers.our_samples(batch), shape.texts)
        return lambda: model(**inputs).loss.sum()
    samples = peers.our_samples(batch) if side == 'ours' else peers.mmdet_samples(batch)
    return lambda: sum(model(batch.images, samples, mode='loss').values())


def _products(kind: str, device: torch.device) -> AbstractContextManager:
    """How exact products of float32 are; half precision is up to the wrapper of the optimizer."""
    return network_precision(kind, device) if kind in ('fp32', 'tf32') else nullcontext()


def _targets(images: int) -> list[int]:
    return [8 + (7 * i) % 16 for i in range(images)]


def finite(check: Check) -> None:
    """50 steps on one batch in each precision: losses and weights stay finite, the loss falls."""
    steps = 2 if check.tiny else _FINITE_STEPS
    kinds = ('fp16', 'bf16', 'fp32') if check.on_gpu else ('fp32',)
    path = attention_paths(check.device)[-1]
    for kind in kinds:
        facts = dict(precision=kind, path=path)
        with check.row(**facts), _products(kind, check.device):
            torch.manual_seed(0)
            model = peers.build_ours(check.small, True, check.device).train()
            batch = peers.draw_batch(64 if check.tiny else 256, _targets(2), check.device)
            forward = forward_pass('ours', model, batch, check.small)
            step, wrapper = training_step(model, forward, kind, 1e-4)
            with attention(model, path):
                losses = torch.stack([step() for _ in range(steps)]).tolist()
            bad = [name for name, p in model.named_parameters() if not p.isfinite().all()]
            scaler = getattr(wrapper, 'loss_scaler', None)
            # float16 begins with a scale that is too large, whose steps are skipped
            finite_losses = [loss for loss in losses if abs(loss) < float('inf')]
            fell = check.tiny or losses[-1] < losses[0]
            check.say(
                **facts,
                first=losses[0],
                last=losses[-1],
                bad_losses=len(losses) - len(finite_losses),
                bad_parameters=bad[:3],
                scale=scaler.get_scale() if scaler is not None else None,
                passed=not bad and len(finite_losses) == len(losses) and fell,
            )


def _rows(check: Check) -> list[tuple]:
    """Model, shape, side, backbone, images, precision, path; the most telling ones first."""
    first, chosen = attention_paths(check.device)[0], attention_paths(check.device)[-1]
    few, many = (1, 2) if check.tiny else (8, 16)
    kind = 'bf16' if check.on_gpu else 'fp32'
    swin = ('swin-l', check.large)
    r50 = ('r50', check.small)
    rows = [
        (*swin, 'ours', few, kind, chosen),
        (*swin, 'hf', few, kind, 'auto'),
        (*r50, 'ours', few, kind, chosen),
        (*r50, 'mask2former', few, kind, 'auto'),
    ]
    if not check.on_gpu:
        return rows
    return [
        *rows,
        (*swin, 'ours', few, 'bf16', first),
        (*r50, 'ours', few, 'bf16', first),
        (*swin, 'ours', few, 'fp16', chosen),
        (*swin, 'ours', many, 'bf16', chosen),
        (*swin, 'ours', 2, 'fp32', chosen),
        (*swin, 'ours', 2, 'tf32', chosen),
        (*swin, 'hf', many, 'bf16', 'auto'),
    ]


def _build(side: str, shape: peers.Shape, backbone: str, device: torch.device) -> nn.Module:
    if side == 'hf':
        return peers.build_hugging_face(shape, True, device)
    if side == 'mask2former':
        return peers.build_mask2former(shape, device)
    return peers.build_ours(shape, True, device, 'r50' if backbone == 'r50' else 'swin-t')


def speed(check: Check) -> None:
    """Steps of Swin-L, with Hugging Face's, and of ResNet-50, with mmdet's Mask2Former."""
    size = 64 if check.tiny else 640
    for backbone, shape, side, images, kind, path in _rows(check):
        if check.left < 60:
            check.say(skipped=f'{check.left:.0f} s left', model=backbone, side=side)
            return
        facts = dict(model=backbone, side=side, images=images, size=size, precision=kind, path=path)
        with check.row(**facts), _products(kind, check.device):
            torch.manual_seed(0)
            model = _build(side, shape, backbone, check.device).train()
            batch = peers.draw_batch(size, _targets(images), check.device)
            step, _ = training_step(model, forward_pass(side, model, batch, shape), kind)
            with attention(model, path):
                found = check.measure(step, 4.0, most=8)
            check.say(**facts, **found, images_per_s=1000 * images / found['ms'])


def compiled(check: Check) -> None:
    """``--compile``, that is the backbone of Swin-T in training, against the same without."""
    if not check.on_gpu:
        check.say(skipped='compiles for a GPU')
        return
    images, size = 8, 640
    model = peers.build_ours(check.small, True, check.device).train()
    batch = peers.draw_batch(size, _targets(images), check.device)
    step, _ = training_step(model, forward_pass('ours', model, batch, check.small), 'bf16')
    for is_compiled in (False, True):
        facts = dict(what='compiled' if is_compiled else 'plain', images=images, size=size)
        with check.row(**facts):
            if is_compiled:
                model.backbone.forward = torch.compile(model.backbone.forward, dynamic=False)
            check.say(**facts, **check.measure(step, 2.0, most=8))
