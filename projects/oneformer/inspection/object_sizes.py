"""Sizes of objects, and their sizes after a config's pipelines.

The side of an object is the root of its number of pixels. Below ``SMALLEST`` pixels it is two cells
of the features at stride 4: hardly ever found.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..datasets.base import SegmentDataset
from ..datasets.findings import WARNING, Finding

SMALLEST = 8  # pixels
MANY = 0.2  # share of the objects that is worth a warning


@dataclass(frozen=True)
class ObjectSizes:
    """Objects of a dataset that are not crowds, N of them.

    Attributes:
        sides: Side of each, the root of its number of pixels, (N,).
        labels: Label of each, (N,).
        shapes: Height and width of its image, (N, 2).
        images: Height and width of each image of the dataset, (I, 2).
    """

    sides: np.ndarray
    labels: np.ndarray
    shapes: np.ndarray
    images: np.ndarray


def sizes_of(dataset: SegmentDataset, counts: Sequence[Mapping]) -> ObjectSizes:
    """Objects among the targets of a dataset; regions of stuff, and of label PNGs, do not count."""
    rows = [
        (area, label, *count['shape'])
        for count in counts
        for area, label in zip(count['target_pixels'], count['targets'])
        if dataset.is_thing[label] and dataset.labels_kind != 'semantic'
    ]
    table = np.array(rows, np.float64).reshape(-1, 4)
    images = np.array([count['shape'] for count in counts], np.float64).reshape(-1, 2)
    return ObjectSizes(np.sqrt(table[:, 0]), table[:, 1].astype(int), table[:, 2:], images)


def scales(pipeline: Sequence[Mapping], shapes: np.ndarray) -> np.ndarray | None:
    """Factor by which a pipeline resizes images, in the middle of its random range.

    Args:
        pipeline: Configs of its transforms.
        shapes: Heights and widths, (N, 2).

    Returns:
        Factors of shape (N,); None if a transform resizes in a way that is not known here.
    """
    short, long = shapes.min(1), shapes.max(1)
    found = np.ones(len(shapes))
    for step in pipeline:
        kind = str(step.get('type')).split('.')[-1]
        if kind == 'ResizeShortEdge':
            edges = np.median(step['short_edges'])
            now = np.minimum(edges / short, step['max_size'] / long)
        elif kind == 'LargeScaleJitter':
            low, high = step.get('scale_range', (0.1, 2.0))
            now = step.get('size', 1024) * (low + high) / 2 / long
        elif kind in ('Resize', 'RandomResize', 'RandomChoiceResize', 'FixScaleResize'):
            return None
        else:
            continue
        found, short, long = found * now, short * now, long * now
    return found


def share_below(sizes: ObjectSizes, pipeline: Sequence[Mapping]) -> float | None:
    """Share of objects with a side below ``SMALLEST`` after a pipeline, 0 to 1.

    None if there are no objects, or the size is not known.
    """
    found = scales(pipeline, sizes.shapes)
    return None if found is None or not len(found) else float(np.mean(_below(sizes, found)))


def _below(sizes: ObjectSizes, found: np.ndarray) -> np.ndarray:
    return sizes.sides * found < SMALLEST


def describe_edges(pipeline: Sequence[Mapping]) -> str:
    """The short edge that a pipeline makes, in words."""
    for step in pipeline:
        kind = str(step.get('type')).split('.')[-1]
        if kind == 'ResizeShortEdge':
            low, high = min(step['short_edges']), max(step['short_edges'])
            return f'short edge {low}' + (f' to {high}' if high > low else '')
        if kind == 'LargeScaleJitter':
            return f'squares of {step.get("size", 1024)}'
    return 'as they are'


def vanishing(
    dataset: SegmentDataset,
    sizes: ObjectSizes,
    pipelines: Mapping[str, Sequence[Mapping]],
    image_size: int | None,
) -> list[Finding]:
    """A warning if many objects are too small to be found where the config resizes images.

    Args:
        dataset: The dataset.
        sizes: Sizes of its objects.
        pipelines: Pipelines by the keys ``training`` and ``test``.
        image_size: Short edge that is recommended, or None.
    """
    shares = {name: share_below(sizes, pipeline) for name, pipeline in pipelines.items()}
    shares = {name: share for name, share in shares.items() if share is not None}
    if max(shares.values(), default=0) < MANY:
        return []
    told = ' and '.join(
        f'{share:.0%} at the size of {name} ({describe_edges(pipelines[name])})'
        for name, share in shares.items()
    )
    worst = max(shares, key=shares.get)
    below = _below(sizes, scales(pipelines[worst], sizes.shapes))
    classes = Counter(sizes.labels[below].tolist())
    everything = Counter(sizes.labels.tolist())
    worst_class = dataset.metainfo['classes'][classes.most_common(1)[0][0]]
    names = ', '.join(
        f'{dataset.metainfo["classes"][label]} {count / everything[label]:.0%}'
        for label, count in classes.most_common(5)
    )
    remedy = f': set image_size = {image_size}' if image_size else ''
    message = (
        f'{dataset.ann_file}: of {len(sizes.sides)} objects {told} have a side (root of the area) '
        f'below {SMALLEST} pixels, and are hardly ever found ({names}). Train and test on larger '
        f'images{remedy} (see the recommended settings)'
    )
    return [Finding('small objects vanish', message, dataset.ann_file, worst_class, WARNING)]
