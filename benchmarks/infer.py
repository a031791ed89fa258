"""One and three tasks of one image: ours against Hugging Face's OneFormer and mmdet's Mask2Former.

All sides go from a normalised image to class logits and mask logits at 1/4 of its size, of the last
layer; nothing is post-processed. Weights are random.

* hf: Swin-T, the same weights. Hugging Face predicts three tasks by three passes. Logits are
  compared for each task.
* bf16: ours in float32 against ours with ``precision='bf16'``, where the processor or GPU has its
  products. Logits may differ by a tenth of their size, by the root of the mean square; what that
  does to a trained model is in docs/precision.md.
* mask2former: ResNet-50, the same weights where both have some. For the comparison ours starts from
  the other's learned queries; the timed model has its query transformer.
* memory: peak of a process that does one pass, above what it held with the model and the image.
* floor_share: seconds that the counted operations of our single task (Swin-T) would take at the
  rate of the best of a few matrix products, timed in turn with ours, over our seconds. Operations
  of gathering, norms and activations are not counted, so 1 cannot be reached.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from oneformer.kernels.precision import check_precision, network_precision, usable_precision
from oneformer.tasks import TASKS

from . import by_module, memory, peers
from .timing import (
    Figure,
    Note,
    ResultsDiffer,
    Row,
    Variant,
    add_device,
    alternate,
    fix_threads,
    positive_int,
)

PRODUCTS = (1024, 2048, 4096)
MOST_OF_BF16 = 0.1  # root mean square of a difference, of that of the logits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--size', type=positive_int, default=512, help='height and width')
    parser.add_argument('--repeats', type=positive_int, default=5, help='rounds after the warm-up')
    parser.add_argument('--plot', type=Path, help='also draw time and memory by module')
    add_device(parser)


def make_pass(
    side: str, model: nn.Module, batch: peers.Batch, tasks: Sequence[str]
) -> Callable[[], peers.Outputs]:
    """The work of a side, 'ours', 'bf16' (ours, too) or 'hf'."""
    if side == 'hf':
        return lambda: peers.hugging_face_outputs(model, batch, tasks)

    def work() -> peers.Outputs:
        with network_precision(None if side == 'ours' else side, batch.images.device):
            return peers.our_outputs(model, batch.images, tasks)

    return work


def build(side: str, shape: peers.Shape, device: torch.device) -> nn.Module:
    """Build the model of a side, 'ours' or 'hf'."""
    make = peers.build_ours if side == 'ours' else peers.build_hugging_face
    return make(shape, training=False, device=device)


def peak_bytes(
    side: str, shape: peers.Shape, size: int, num_tasks: int, threads: int, device: torch.device
) -> int:
    """Peak bytes of one pass; the work of a process of its own."""
    fix_threads(threads)
    model, batch = build(side, shape, device), peers.draw_batch(size, [0], device)
    return memory.peak_of(make_pass(side, model, batch, TASKS[:num_tasks]), device)


def module_bytes(
    side: str, shape: peers.Shape, size: int, threads: int, device: torch.device
) -> dict[str, float]:
    """Peak bytes of one task by module; the work of a process of its own."""
    fix_threads(threads)
    model, batch = build(side, shape, device), peers.draw_batch(size, [0], device)
    step = without_result(make_pass(side, model, batch, TASKS[:1]))
    return by_module.bytes_by_module(model, step, device)


def without_result(work: Callable) -> Callable[[], None]:
    """The same work, without its result."""

    def step() -> None:
        work()

    return step


def count_operations(model: nn.Module, work: Callable) -> int:
    """Count two for each multiplication and addition of products and convolutions."""
    model.requires_grad_(False)  # the counter's hooks fail on outputs that are views with a graph
    # the fused attention of a CPU is not an operation that the counter knows
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return counter.get_total_flops()


def matrix_products(device: torch.device) -> dict[int, Variant]:
    """Products of square matrices, by their size."""
    pairs = {size: torch.randn(2, size, size, device=device) for size in PRODUCTS}
    return {
        size: Variant(run=lambda pair: torch.mm(*pair), prepare=lambda pair=pair: pair)
        for size, pair in pairs.items()
    }


def lack_of_bf16(device: torch.device) -> str | None:
    """Why there is nothing to measure in bfloat16; None if there is."""
    try:
        check_precision('bf16', device)
    except ValueError as error:
        return str(error)
    return usable_precision('bf16', device)[1]


def check_bf16(name: str, rounded: Tensor, exact: Tensor) -> None:
    """Compare logits; ResultsDiffer if they are not nearly the same."""
    error = ((rounded.float() - exact).norm() / exact.norm()).item()
    if not error <= MOST_OF_BF16:  # also nan
        raise ResultsDiffer(f'{name} in bf16 differ by {error:.1%} of their size')


def against_hugging_face(args: argparse.Namespace) -> list[Row | Figure | Note]:
    """Time Swin-T, and find our share of the machine's rate; the work of an own process."""
    fix_threads(args.threads)
    shape, device = peers.SHAPE, args.device
    models = {side: build(side, shape, device) for side in ('ours', 'hf')}
    peers.share_weights(models['ours'], models['hf'])
    lack = lack_of_bf16(device)
    if lack is None:
        models['bf16'] = models['ours']
    batch = peers.draw_batch(args.size, [0], device)
    passes = {
        (side, name): make_pass(side, model, batch, TASKS[:number])
        for name, number in peers.NUM_TASKS.items()
        for side, model in models.items()
    }

    def check(results: dict) -> None:
        for name in peers.NUM_TASKS:
            ours, peer = results['ours', name], results['hf', name]
            peers.check_close(f'classes of {name}', ours.scores, peer.scores)
            peers.check_close(f'masks of {name}', ours.masks, peer.masks)
            if rounded := results.get(('bf16', name)):
                check_bf16(f'classes of {name}', rounded.scores, ours.scores)
                check_bf16(f'masks of {name}', rounded.masks, ours.masks)

    variants = {
        key: Variant(run=lambda work: work(), prepare=lambda work=work: work)
        for key, work in passes.items()
    }
    seconds = alternate(variants | matrix_products(device), args.repeats, check, device)
    rows = [
        Row(f'infer/{name}/hf', seconds['ours', name], seconds['hf', name])
        for name in peers.NUM_TASKS
    ]
    rows += [
        Row(f'infer/{name}/bf16', seconds['bf16', name], seconds['ours', name])
        for name in (peers.NUM_TASKS if lack is None else ())
    ]

    rate = max(2 * size**3 / median(seconds[size]) for size in PRODUCTS)
    operations = count_operations(models['ours'], passes['ours', 'one_task'])
    share = operations / rate / median(seconds['ours', 'one_task'])
    text = f'of the time is that of {operations / 1e9:.1f} GFLOP at {rate / 1e9:.0f} GFLOP/s'
    rows.append(Figure('infer/floor_share', share, text))
    if args.plot is not None:
        draw(args, {side: models[side] for side in ('ours', 'hf')}, batch)
    return rows if lack is None else [*rows, Note(f'not measured, bf16: {lack}')]


def draw(args: argparse.Namespace, models: dict[str, nn.Module], batch: peers.Batch) -> None:
    """Draw the picture of one task by module."""
    steps = {
        side: (model, without_result(make_pass(side, model, batch, TASKS[:1])))
        for side, model in models.items()
    }
    times = by_module.seconds_by_module(steps, args.device, args.repeats)
    peaks = {
        side: memory.in_own_process(
            module_bytes, side, peers.SHAPE, args.size, args.threads, args.device
        )
        for side in models
    }
    by_module.draw(args.plot, f'one task, {args.size} x {args.size}', times, peaks)


def against_mask2former(args: argparse.Namespace) -> Row:
    """Time ResNet-50; the work of an own process."""
    fix_threads(args.threads)
    peer = peers.build_mask2former(peers.SHAPE, args.device)
    ours = peers.build_ours(peers.SHAPE, False, args.device, 'r50')
    peers.share_weights(ours, peer)
    images = peers.draw_batch(args.size, [0], args.device).images
    variants = dict(
        ours=Variant(lambda _: peers.our_outputs(ours, images, TASKS[:1]), lambda: None),
        peer=Variant(lambda _: peers.mask2former_outputs(peer, images), lambda: None),
    )

    def check(results: dict) -> None:
        with peers.same_start(ours, peer):
            same = peers.our_outputs(ours, images, TASKS[:1])
        peers.check_close('classes', same.scores, results['peer'].scores)
        peers.check_close('masks', same.masks, results['peer'].masks)

    seconds = alternate(variants, args.repeats, check, args.device)
    note = peers.attention_note(args.device)
    return Row('infer/one_task/mask2former', seconds['ours'], seconds['peer'], note=note)


def run(args: argparse.Namespace) -> list[Row | Figure | Note]:
    """Compare and measure."""
    peers.require_transformers()
    if args.plot is not None:
        by_module.require_matplotlib()
    # or memory that one pair leaves in the allocator could be used by the next
    rows = [
        *memory.in_own_process(against_hugging_face, args),
        memory.in_own_process(against_mask2former, args),
    ]
    for name, number in peers.NUM_TASKS.items():
        peaks = {
            side: memory.in_own_process(
                peak_bytes, side, peers.SHAPE, args.size, number, args.threads, args.device
            )
            for side in ('ours', 'hf')
        }
        rows.append(Row(f'infer/memory/{name}/hf', [peaks['ours']], [peaks['hf']], 'bytes'))
    return rows
