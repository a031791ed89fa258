"""Only ours: time and memory against image side, queries, images per batch, targets per image.

Swin-T with random weights. Each point has a process of its own: its first pass gives the peak
above the model, its second one the time. All but the targets are forward passes of one task
to class and mask logits, at 512 x 512 with 150 queries and one image where nothing else is said;
targets are those of a training step with texts, of one image of 512 x 512.

An exponent p says that a quantity grows like x^p: "fitted" to all points (least squares of
logarithms), "last" between the two largest. That of the side is given for pixels, so memory that
grows no faster than pixels has 1 or less. The point of no targets is measured, but not fitted.

Last comes one large image, in overlapping windows, predicted for all three tasks with every query
sure of its class, which is the worst for memory: the most that its process held.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample
from terminaltables import AsciiTable
from torch import nn

from oneformer.tasks import TASKS

from . import memory, peers
from .timing import (
    Clock,
    Figure,
    OutOfBounds,
    ResultsDiffer,
    add_device,
    fix_threads,
    positive_int,
)

AXES = dict(
    side=(256, 512, 1024, 2048),
    queries=(50, 100, 200, 400),
    batch=(1, 2, 4, 8),
    targets=(0, 25, 50, 100, 200),
)
LARGE_IMAGE = (2048, 4096), dict(size=1024, overlap=256)
QUICK_IMAGE = (256, 512), dict(size=128, overlap=32)
QUICK = dict(side=(256, 512), queries=(50, 100), batch=(1, 2), targets=(0, 10, 20))


class Point(NamedTuple):
    """Input of one pass; a number of targets makes it a training step."""

    side: int
    queries: int
    batch: int = 1
    targets: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--size', type=positive_int, default=512, help='side of the other axes')
    parser.add_argument('--quick', action='store_true', help='few and small points')
    add_device(parser)


def measure(
    point: Point, shape: peers.Shape, threads: int, device: torch.device
) -> tuple[float, int]:
    """Seconds and peak bytes above the model; the work of a process of its own."""
    fix_threads(threads)
    training = point.targets is not None
    # queries without a text of their own are the learned context
    shape = shape._replace(queries=point.queries, context=min(shape.context, point.queries // 2))
    model = peers.build_ours(shape, training, device).train(training)
    batch = peers.draw_batch(point.side, [point.targets or 0] * point.batch, device)
    samples = peers.our_samples(batch)

    def work() -> None:
        if training:
            model.zero_grad(set_to_none=True)
            sum(model(batch.images, samples, mode='loss').values()).backward()
        else:
            peers.our_outputs(model, batch.images, TASKS[:1])

    peak = memory.peak_of(work, device)
    clock = Clock(device)
    work()
    return clock.lap(), peak


def sure_model(shape: peers.Shape, device: torch.device, window: dict) -> nn.Module:
    """A model that is sure of the class of every query, and predicts by windows."""
    model = peers.build_ours(shape, False, device)
    model.test_cfg['window'] = window
    things = model.is_thing.nonzero().flatten()
    sure = things[torch.arange(shape.queries, device=device) % len(things)]
    model.panoptic_head.cls_embed.register_forward_hook(
        lambda module, inputs, scores: scores * 0 + 20 * F.one_hot(sure, scores.shape[-1])
    )
    return model


@torch.no_grad()
def predict_large(model: nn.Module, size: tuple[int, int], queries: int) -> float:
    """Seconds of three tasks of an image of noise.

    Raises:
        ResultsDiffer: If not all queries are instances.
    """
    device = next(model.parameters()).device
    image = torch.randn(1, 3, *size, device=device)
    clock = Clock(device)
    (sample,) = model.predict(image, [DetDataSample(metainfo=dict(img_shape=size, ori_shape=size))])
    seconds = clock.lap()
    if len(sample.pred_instances) < min(queries, model.test_cfg['max_per_image']):
        raise ResultsDiffer('few queries were sure, so this is not the worst case')
    return seconds


def measure_large(
    size: tuple[int, int], window: dict, shape: peers.Shape, threads: int, device: torch.device
) -> tuple[float, int]:
    """Seconds and bytes of three tasks, model included; the work of a process of its own."""
    fix_threads(threads)
    seconds = predict_large(sure_model(shape, device, window), size, shape.queries)
    if device.type == 'cuda':
        return seconds, torch.cuda.max_memory_allocated()
    return seconds, memory.lifetime_peak()


def exponents(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Exponents fitted to all points, and between the last two; points at zero are left out."""
    x, y = np.log([(x, y) for x, y in zip(xs, ys) if x > 0]).T
    return float(np.polyfit(x, y, 1)[0]), float((y[-1] - y[-2]) / (x[-1] - x[-2]))


def points_of(axis: str, values: Sequence[int], size: int, queries: int) -> list[Point]:
    """One point per value of the axis."""
    base = Point(size, queries)
    return [base._replace(**{axis: value}) for value in values]


def run(args: argparse.Namespace) -> list[Figure]:
    """Measure all points, print them, and fit."""
    shape, figures = peers.SHAPE, []
    table = [['axis', 'value', 'seconds', 'MiB above the model']]
    for axis, values in (QUICK if args.quick else AXES).items():
        measured = [
            memory.in_own_process(measure, point, shape, args.threads, args.device)
            for point in points_of(axis, values, args.size, shape.queries)
        ]
        for value, (seconds, peak) in zip(values, measured):
            table.append([axis, value, f'{seconds:.2f}', f'{peak / 2**20:.0f}'])
        xs, name = (values, axis) if axis != 'side' else ([v * v for v in values], 'pixels')
        for quantity, ys in zip(('time', 'memory'), zip(*measured)):
            fitted, last = exponents(xs, ys)
            text = f'is the fitted exponent, {last:.2f} the last'
            figures.append(Figure(f'scale/{quantity}/{name}', fitted, text))
    large = QUICK_IMAGE if args.quick else LARGE_IMAGE
    seconds, peak = memory.in_own_process(measure_large, *large, shape, args.threads, args.device)
    (height, width), window = large
    table.append(
        [f'{height} x {width}', 'three tasks', f'{seconds:.2f}', f'{peak / 2**20:.0f} in all']
    )
    text = f'GiB in all for {height} x {width} in windows of {window["size"]}, {seconds:.1f} s'
    figures.append(Figure('scale/large_image', peak / 2**30, text))
    print(AsciiTable(table).table)
    growth = {figure.name: figure.value for figure in figures}['scale/memory/pixels']
    if growth > 1.02:
        raise OutOfBounds(f'memory grows like pixels to the power of {growth:.2f}', figures)
    return figures
