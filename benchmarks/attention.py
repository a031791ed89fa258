"""Deformable attention alone: the path that runs here by default against all others that can.

From values, and offsets and scores as one linear layer writes them, to the sums of the samples; at
the sizes of the published models: 8 heads of 32 channels, levels of strides 32, 16 and 8 of an
image, 4 points in each. Peers are our other paths that can run on the device, among them
mmcv's operator where it is compiled, and on a GPU deformops where it is installed.

* forward: without gradients.
* step: forward and backward.
* memory: peak of a step above its inputs, in a process of its own.

Results and gradients are compared with those of plain torch before anything is timed.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from oneformer.kernels.attention_levels import Levels, find_samples
from oneformer.kernels.attention_paths import PATHS, choose_path, find_obstacle
from oneformer.kernels.deformable_attention import DeformableAttention

from . import memory
from .timing import (
    Note,
    ResultsDiffer,
    Row,
    Variant,
    add_device,
    alternate,
    fix_threads,
    positive_int,
)

HEADS, CHANNELS, POINTS, STRIDES = 8, 32, 4, (32, 16, 8)
Attend = Callable[[Tensor, Tensor], Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--sizes',
        type=positive_int,
        nargs='+',
        default=[640, 1024],
        help='height and width of images',
    )
    parser.add_argument('--images', type=positive_int, default=1, help='images at a time')
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')
    add_device(parser)


def make_inputs(size: int, images: int, device: torch.device) -> tuple[Levels, list[Tensor]]:
    """Levels, and value (B, N, M, C), numbers (B, N, 3 * M * L * P) and a gradient as value."""
    levels = Levels.of([(-(-size // stride), -(-size // stride)) for stride in STRIDES], device)
    generator = torch.Generator().manual_seed(0)
    N, samples = len(levels.centres), HEADS * len(STRIDES) * POINTS
    shapes = [(HEADS, CHANNELS), (3 * samples,), (HEADS, CHANNELS)]
    tensors = [torch.randn(images, N, *shape, generator=generator) for shape in shapes]
    tensors[1][..., : 2 * samples] *= 2  # offsets, in pixels
    return levels, [tensor.to(device) for tensor in tensors]


def make_attend(name: str, levels: Levels) -> Attend:
    """The work of a path or peer, from value and numbers to sums of shape (B, N, M * C)."""
    if name == 'deformops':
        from deformops.registry import msda

        def attend(value: Tensor, numbers: Tensor) -> Tensor:
            places, weights = find_samples(numbers, levels, HEADS, POINTS)
            return msda(value, levels.sizes, levels.starts, places, weights.flatten(3)).flatten(2)

        return attend
    module = DeformableAttention(
        HEADS * CHANNELS, HEADS, len(STRIDES), POINTS, dropout=0.0, batch_first=True
    )
    return partial(module.attend, levels=levels, path=name)


def step(attend: Attend, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Sums, and gradients of value and numbers."""
    value, numbers = (tensor.detach().requires_grad_() for tensor in inputs[:2])
    output = attend(value, numbers)
    gradients = torch.autograd.grad(output, (value, numbers), inputs[2].flatten(2))
    return [output.detach(), *gradients]


@torch.no_grad()
def forward(attend: Attend, inputs: Sequence[Tensor]) -> Tensor:
    return attend(*inputs[:2])


def peak_bytes(name: str, size: int, images: int, threads: int, device: torch.device) -> int:
    """Peak bytes of a step; the work of a process of its own."""
    fix_threads(threads)
    levels, inputs = make_inputs(size, images, device)
    attend = make_attend(name, levels)
    return memory.peak_of(lambda: step(attend, inputs), device)


def check(results: dict[str, list[Tensor]]) -> None:
    """Compare results and gradients with those of plain torch.

    Raises:
        ResultsDiffer: If the norm of a difference is more than 0.001 of the norm.
    """
    expected = results['torch']
    for name, found in results.items():
        for what, ours, plain in zip(('sums', 'gradients', 'gradients'), found, expected):
            error = ((ours - plain).norm() / plain.norm()).item()
            if not error <= 1e-3:
                raise ResultsDiffer(f'{what} of {name} differ from plain torch by {error:.2%}')


def find_peers(device: torch.device) -> tuple[list[str], list[Note]]:
    """Names of all that can run, plain torch first, and what cannot, and why."""
    obstacles: dict[str, str | None] = {name: find_obstacle(name, device) for name in PATHS}
    obstacles['deformops'] = _deformops_obstacle(device)
    runs = sorted((name for name, why in obstacles.items() if why is None), key='torch'.__ne__)
    notes = [Note(f'not measured, {name}: {why}') for name, why in obstacles.items() if why]
    return runs, notes


def _deformops_obstacle(device: torch.device) -> str | None:
    if device.type != 'cuda':
        return 'it is for CUDA'
    try:
        levels, inputs = make_inputs(64, 1, device)
        step(make_attend('deformops', levels), inputs)
        return None
    except Exception as error:  # it is missing, or was not made for this torch or GPU
        return f'{type(error).__name__}: {error}'


def measure(size: int, runs: Sequence[str], args: argparse.Namespace) -> list[Row]:
    """Time a size; the work of an own process."""
    fix_threads(args.threads)
    levels, inputs = make_inputs(size, args.images, args.device)
    works = {name: make_attend(name, levels) for name in runs}
    check({name: step(attend, inputs) for name, attend in works.items()})
    default, rows = choose_path(args.device)[0], []
    for what, run in (('forward', forward), ('step', step)):
        variants = {
            name: Variant(run=lambda attend, run=run: run(attend, inputs), prepare=lambda a=a: a)
            for name, a in works.items()
        }
        seconds = alternate(variants, args.repeats, lambda results: None, args.device)
        rows += [
            Row(f'attention/{what}/{size}/{name}', seconds[default], seconds[name])
            for name in runs
            if name != default
        ]
    return rows


def run(args: argparse.Namespace) -> list[Row | Note]:
    """Compare and measure."""
    default, reason = choose_path(args.device)
    runs, notes = find_peers(args.device)
    rows: list[Row | Note] = [Note(f'ours is {PATHS[default]}: {reason}'), *notes]
    for size in args.sizes:
        rows += memory.in_own_process(measure, size, runs, args)
        peaks = {
            name: memory.in_own_process(
                peak_bytes, name, size, args.images, args.threads, args.device
            )
            for name in runs
        }
        rows += [
            Row(f'attention/memory/{size}/{name}', [peaks[default]], [peaks[name]], 'bytes')
            for name in runs
            if name != default
        ]
    return rows
