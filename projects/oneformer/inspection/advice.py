"""Settings that fit a dataset: image size, crop, batch, length, queries; to paste in a config.

The rules are simple and stated: docs/your_data.md shows what they lead to.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.config import Config

from ..datasets.base import SegmentDataset
from .object_sizes import SMALLEST, ObjectSizes, share_below

SHARE = 0.9  # share of the objects that should have a side of SMALLEST pixels at least
STEP = 32  # sizes are multiples of the largest stride


@dataclass(frozen=True)
class Machine:
    """Limits of a machine for training in an acceptable time.

    Attributes:
        name: Name of the machine.
        largest: Short edge in pixels, at most.
        crop: Side of training's squares in pixels, at most.
        pixels: Pixels of a batch.
        batch: Squares of a batch, at most.
        passes: Passes over the dataset.
        iterations: Fewest and most iterations.
        validations: Number of validations in a run.
        queries: Fewest queries.
    """

    name: str
    largest: int
    crop: int
    pixels: int
    batch: int
    passes: int
    iterations: tuple[int, int]
    validations: int
    queries: int


CPU = Machine('a CPU', 800, 256, 3 * 256**2, 8, 12, (800, 2000), 2, 30)
GPU = Machine('a GPU', 1024, 512, 8 * 512**2, 16, 100, (2000, 20000), 10, 150)


def machine_of(cfg: Config) -> Machine:
    """The machine that a config is for, by its backbone."""
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    return CPU if str(backbone.get('type')).endswith('EfficientNetLite0') else GPU


def _up(value: float, step: int) -> int:
    return int(math.ceil(value / step - 1e-9)) * step


def image_size(sizes: ObjectSizes, machine: Machine) -> int | None:
    """Short edge at which ``SHARE`` of the objects have ``SMALLEST`` pixels, within limits.

    Images are not made smaller than 256 pixels unless they are smaller, and at most twice as
    large as they are. None without images.
    """
    if not len(sizes.images):
        return None
    own = float(np.median(sizes.images.min(1)))
    wanted = own  # of labels without objects
    if len(sizes.sides):
        wanted = np.quantile(SMALLEST / sizes.sides * sizes.shapes.min(1), SHARE)
    least = min(own, 256.0)
    size = _up(max(least, min(wanted, 2 * own)), STEP)
    return min(size, machine.largest)


def recommend(
    dataset: SegmentDataset,
    sizes: ObjectSizes,
    counts: Sequence[Mapping],
    machine: Machine,
    context: int | None,
) -> dict[str, int]:
    """Settings of ``configs/your_data`` for a training set.

    Args:
        dataset: The dataset.
        sizes: Sizes of its objects.
        counts: Counts of its images, from ``check_sample``.
        machine: Machine that trains.
        context: Number of queries without a prompt, ``model.text_mapper.num_context``.
    """
    size = image_size(sizes, machine)
    if size is None:
        return {}
    crop = min(size, machine.crop)
    batch = max(2, min(machine.batch, round(machine.pixels / crop**2)))
    length = machine.passes * len(dataset) / batch
    length = _up(min(max(length, machine.iterations[0]), machine.iterations[1]), 100)
    most = max((len(count['targets']) for count in counts), default=0)
    queries = max(_up(1.25 * (most + (context or 0)), 10), machine.queries)
    return dict(
        max_iters=length,
        image_size=size,
        crop_size=crop,
        batch_size=batch,
        val_interval=_up(length / machine.validations, 10),
        num_queries=queries,
    )


def advise(
    dataset: SegmentDataset,
    sizes: ObjectSizes,
    counts: Sequence[Mapping],
    cfg: Config,
    pipelines: Mapping[str, Sequence[Mapping]],
) -> dict:
    """Facts about sizes for the summary of a training set: numbers, and settings to paste.

    Args:
        dataset: The dataset.
        sizes: Sizes of its objects.
        counts: Counts of its images.
        cfg: Config of training.
        pipelines: Pipelines by the keys ``training`` and ``test``.
    """
    machine = machine_of(cfg)
    context = (cfg.model.get('text_mapper') or {}).get('num_context') if 'model' in cfg else None
    quantiles = [None] * 3
    if len(sizes.sides):
        quantiles = np.quantile(sizes.sides, (0.1, 0.5, 0.9)).round(1).tolist()
    return dict(
        machine=machine.name,
        objects=len(sizes.sides),
        sides=dict(zip(('10 %', '50 %', '90 %'), quantiles)),
        below={name: share_below(sizes, pipeline) for name, pipeline in pipelines.items()},
        settings=recommend(dataset, sizes, counts, machine, context),
    )


def advice_text(name: str, advice: Mapping) -> list[str]:
    """Lines for a terminal; the settings are lines of a config."""
    lines = []
    if advice['objects']:
        low, middle, high = advice['sides'].values()
        shares = ', '.join(
            f'{share:.0%} at the size of {where}'
            for where, share in advice['below'].items()
            if share is not None
        )
        lines.append(
            f'{name}: {advice["objects"]} objects, side (root of the area) of a tenth of them up '
            f'to {low:g} pixels, of half up to {middle:g}, of nine tenths up to {high:g}'
            + (f'; below {SMALLEST} pixels are {shares} of the config' if shares else '')
        )
    if advice['settings']:
        lines.append(f'{name}: recommended settings for {advice["machine"]}, to paste:')
        lines += [f'    {key} = {value}' for key, value in advice['settings'].items()]
    return lines
