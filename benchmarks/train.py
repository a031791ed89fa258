"""One training step, forward and backward: ours against Hugging Face's OneFormer and Mask2Former.

Two images with 12 and 16 targets, 134 prompts each where there are texts; dropout and drop path as
published; without the optimiser's step. Weights are random.

* hf: Swin-T, the same weights, targets and token ids. Hugging Face gets its float masks ready-made,
  while the expansion of our target maps is part of our step.
* mask2former: ResNet-50, the same targets and the same weights where both have some; only ours has
  query transformer, texts and the contrastive loss.
* memory: peak of a process that does one step, above what it held with the model and its inputs.
* text_share: seconds of our text branch alone, forward and backward, over those of our step with
  Swin-T.

First, losses of masks and classes are compared at the same points without dropout; against
Mask2Former ours starts from its learned queries. The contrastive loss is left out: Hugging Face
omits the causal mask of the text encoder.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from . import by_module, memory, peers
from .timing import (
    Figure,
    ResultsDiffer,
    Row,
    Variant,
    add_device,
    alternate,
    fix_threads,
    positive_int,
)

TARGETS = (12, 16)
BACKBONES = dict(hf='swin-t', mask2former='r50')
# a flipped bit of an attention mask moves single losses a little
SINGLE, TOTAL = 1e-2, 1e-3

Losses = Mapping[str, Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--size', type=positive_int, default=512, help='height and width')
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')
    parser.add_argument('--plot', type=Path, help='also draw time and memory by module')
    add_device(parser)


def build(side: str, peer: str, shape: peers.Shape, device: torch.device) -> nn.Module:
    """One side of the comparison with a peer, 'ours' or 'peer'."""
    if side == 'ours':
        return peers.build_ours(shape, True, device, BACKBONES[peer])
    if peer == 'hf':
        return peers.build_hugging_face(shape, True, device)
    return peers.build_mask2former(shape, device)


def make_forward(
    side: str, peer: str, model: nn.Module, batch: peers.Batch, shape: peers.Shape
) -> Callable[[], Tensor]:
    """The forward pass of a side on inputs that are ready; returns the sum of its losses."""
    if side == 'peer' and peer == 'hf':
        inputs = peers.hugging_face_inputs(batch.images, peers.our_samples(batch), shape.texts)
        return lambda: model(**inputs).loss.sum()
    samples = peers.our_samples(batch) if side == 'ours' else peers.mmdet_samples(batch)
    return lambda: sum(model(batch.images, samples, mode='loss').values())


def peak_bytes(
    side: str, peer: str, shape: peers.Shape, size: int, threads: int, device: torch.device
) -> int:
    """Peak bytes of one step; the work of a process of its own."""
    fix_threads(threads)
    model = build(side, peer, shape, device).train()
    forward = make_forward(side, peer, model, peers.draw_batch(size, TARGETS, device), shape)
    return memory.peak_of(lambda: forward().backward(), device)


def module_bytes(
    side: str, shape: peers.Shape, size: int, threads: int, device: torch.device
) -> dict[str, float]:
    """Peak bytes of a step by module, ours or Hugging Face's; the work of a process of its own."""
    fix_threads(threads)
    model = build(side, 'hf', shape, device).train()
    forward = make_forward(side, 'hf', model, peers.draw_batch(size, TARGETS, device), shape)
    return by_module.bytes_by_module(model, forward, device)


def losses_in_evaluation(model: nn.Module, batch: peers.Batch, shape: peers.Shape) -> Losses:
    """Weighted losses of Hugging Face's model in evaluation, under our names."""
    # its pixel decoder drops out also in evaluation, if the model could be trained
    layers = [m for m in model.model.pixel_level_module.modules() if hasattr(m, 'is_training')]
    for layer in layers:
        layer.is_training = False
    try:
        samples = peers.our_samples(batch)
        inputs = peers.hugging_face_inputs(batch.images, samples, shape.texts)
        return peers.hugging_face_losses(model, inputs)
    finally:
        for layer in layers:
            layer.is_training = True


def check_losses(ours: Losses, peer: Losses) -> None:
    """Raise ResultsDiffer unless the losses of classes and masks are the same."""
    names = [name for name in peer if 'contrastive' not in name]
    if set(names) != {name for name in ours if 'contrastive' not in name}:
        raise ResultsDiffer(f'losses of ours are {sorted(ours)}, of the peer {sorted(peer)}')
    values = torch.tensor([[float(losses[name]) for name in names] for losses in (ours, peer)])
    single = ((values[0] - values[1]).abs() / values[1]).max().item()
    total = abs(values[0].sum() / values[1].sum() - 1).item()
    if not (single <= SINGLE and total <= TOTAL):
        raise ResultsDiffer(f'losses differ by up to {single:.2%}, their sum by {total:.2%}')


@torch.no_grad()
def compare(peer: str, models: dict[str, nn.Module], batch: peers.Batch) -> None:
    """Compare the losses of two models in evaluation."""
    ours, other = models['ours'], models['peer']
    samples = peers.our_samples(batch)
    with peers.same_points(ours):
        if peer == 'hf':
            expected = losses_in_evaluation(other, batch, peers.SHAPE)
            check_losses(ours(batch.images, samples, mode='loss'), expected)
        else:
            expected = other(batch.images, peers.mmdet_samples(batch), mode='loss')
            with peers.same_start(ours, other):
                check_losses(ours(batch.images, samples, mode='loss'), expected)


def step_variant(model: nn.Module, forward: Callable[[], Tensor]) -> Variant:
    """Forward and backward pass, starting without gradients."""
    return Variant(lambda _: forward().backward(), lambda: model.zero_grad(set_to_none=True))


def text_variant(model: nn.Module, batch: peers.Batch) -> Variant:
    """Our text branch only."""
    samples = peers.our_samples(batch)
    texts, fillers = [s.texts for s in samples], [s.filler for s in samples]
    return Variant(
        lambda _: model.text_mapper(texts, fillers).sum().backward(),
        lambda: model.zero_grad(set_to_none=True),
    )


def against(peer: str, args: argparse.Namespace) -> list[Row | Figure]:
    """Compare losses with a peer, then time; the work of a process of its own."""
    fix_threads(args.threads)
    models = {side: build(side, peer, peers.SHAPE, args.device) for side in ('ours', 'peer')}
    peers.share_weights(models['ours'], models['peer'])
    batch = peers.draw_batch(args.size, TARGETS, args.device)
    compare(peer, models, batch)
    forwards = {
        side: make_forward(side, peer, model.train(), batch, peers.SHAPE)
        for side, model in models.items()
    }
    variants = {side: step_variant(models[side], forward) for side, forward in forwards.items()}
    if peer == 'hf':
        variants['text'] = text_variant(models['ours'], batch)
    seconds = alternate(variants, args.repeats, lambda results: None, args.device)
    note = peers.attention_note(args.device) if peer == 'mask2former' else ''
    rows = [Row(f'train/step/{peer}', seconds['ours'], seconds['peer'], note=note)]
    if peer == 'hf':
        text = median(seconds['text'])
        share = text / median(seconds['ours'])
        rows.append(Figure('train/text_share', share, f'of our step, {1000 * text:.0f} ms'))
        if args.plot is not None:
            draw(args, models, forwards)
    return rows


def draw(args: argparse.Namespace, models: dict, forwards: dict[str, Callable]) -> None:
    """Draw the picture of a step by module."""
    sides = dict(ours='ours', hf='peer')
    steps = {name: (models[side], forwards[side]) for name, side in sides.items()}
    times = by_module.seconds_by_module(steps, args.device, min(args.repeats, 2))
    peaks = {
        name: memory.in_own_process(
            module_bytes, side, peers.SHAPE, args.size, args.threads, args.device
        )
        for name, side in sides.items()
    }
    title = f'training step, {len(TARGETS)} images of {args.size} x {args.size}'
    by_module.draw(args.plot, title, times, peaks)


def run(args: argparse.Namespace) -> list[Row | Figure]:
    """Compare and measure."""
    peers.require_transformers()
    if args.plot is not None:
        by_module.require_matplotlib()
    rows = []
    for peer in BACKBONES:
        # or memory that one pair leaves in the allocator could be used by the next
        rows += memory.in_own_process(against, peer, args)
        peaks = {
            side: memory.in_own_process(
                peak_bytes, side, peer, peers.SHAPE, args.size, args.threads, args.device
            )
            for side in ('ours', 'peer')
        }
        note = peers.attention_note(args.device) if peer == 'mask2former' else ''
        rows.append(Row(f'train/memory/{peer}', [peaks['ours']], [peaks['peer']], 'bytes', note))
    return rows
