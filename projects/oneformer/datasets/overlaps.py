"""Objects that overlap, in one map: it numbers regions, and a table says which objects lie there.

A region is a set of pixels on which the same objects lie. Where no objects overlap, region k is
segment k, and there is no table; so transforms that move one integer map move overlaps, too.

Legend: H, W pixels, S segments, R regions, N targets.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from pycocotools import mask as mask_utils

from ..run_length import code_area, decode_mask
from .pixel_counts import count_values

MAX_SEGMENTS = np.iinfo(np.int16).max  # of an image, as maps of segments are int16
OVERLAPS = ('full', 'topmost')
ON_TOP = ('smaller', 'later', 'earlier')

# for each region, from region 1 on, numbers from 1 of its segments, the topmost first
RegionSegments = Sequence[tuple[int, ...]]


class TooManyRegions(ValueError):
    """Objects overlap in more ways than a map can number."""


def check_overlap_options(overlaps: str, on_top: str | Sequence[str], things: Sequence[str]):
    """Check the options ``overlaps`` and ``on_top`` of a dataset, see ``InstanceDataset``.

    Args:
        overlaps: Word of ``OVERLAPS``.
        on_top: Word of ``ON_TOP``, or names of classes from bottom to top.
        things: The classes that can be named.

    Returns:
        ``on_top``, with a list made a tuple.

    Raises:
        ValueError: If a value is anything else.
    """
    if overlaps not in OVERLAPS:
        raise ValueError(
            f'overlaps is {overlaps!r}, but has to be one of {OVERLAPS}: full teaches each object '
            'its whole mask, topmost each pixel to the object on top'
        )
    if isinstance(on_top, str):
        if on_top not in ON_TOP:
            hint = f': say on_top=[{on_top!r}] to have this class on top' * (on_top in things)
            raise ValueError(
                f'on_top is {on_top!r}, but has to be one of {ON_TOP}, or a list of class names '
                f'from bottom to top{hint}'
            )
        return on_top
    try:
        names = tuple(on_top)
    except TypeError:
        names = (on_top,)
    wrong = [name for name in names if name not in things]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if wrong or twice or not names:
        found = f'has {wrong}' if wrong else f'lists {twice} twice' if twice else 'is empty'
        raise ValueError(
            f'on_top {found}, but has to be one of {ON_TOP}, or a list of class names from bottom '
            f'to top, each once, of {list(things)}'
        )
    return names


def painting_order(
    segments: Sequence[Mapping], areas: Sequence[int], on_top: str | Sequence[str]
) -> list[int]:
    """Positions of segments from bottom to top; crowds are below all others.

    Args:
        segments: Dicts with ``iscrowd``, and ``category`` where ``on_top`` names classes.
        areas: Areas of the segments, in pixels.
        on_top: See ``InstanceDataset``.
    """
    if on_top == 'later':
        heights = [(k,) for k in range(len(segments))]
    elif on_top == 'earlier':
        heights = [(-k,) for k in range(len(segments))]
    else:
        ranks = {} if on_top == 'smaller' else {name: i for i, name in enumerate(on_top, 1)}
        heights = [(ranks.get(s.get('category'), 0), -area) for s, area in zip(segments, areas)]
    return sorted(range(len(segments)), key=lambda k: (not segments[k]['iscrowd'], heights[k]))


class _Stacks:
    """The objects on each region of a map that is being painted.

    Crowds are below all others and hidden by them, so they count as nothing here.
    """

    def __init__(self, crowds: Sequence[bool]) -> None:
        self.crowds = crowds
        self.stacks = [(), *(() if crowd else (k,) for k, crowd in enumerate(crowds, 1))]
        self.overlaps = 0

    def lay(self, number: int, below: np.ndarray) -> np.ndarray | int:
        """Put segment ``number`` on the regions ``below``; the regions of its pixels after.

        Its own number is where it lies alone, or if it does so nowhere, where most of it lies.
        """
        if not below.any():
            return number
        counts = np.bincount(below)
        found = np.flatnonzero(counts).tolist()
        covered = [region for region in found if self.stacks[region]]
        if not covered:
            return number
        self.overlaps += len(covered)
        if len(self.crowds) + self.overlaps > MAX_SEGMENTS:  # of which targets are made, too
            raise TooManyRegions
        now = np.full(len(counts), number, np.int16)
        if len(covered) == len(found):
            main = max(covered, key=lambda region: counts[region])
            covered.remove(main)
            self.stacks[number] = (number, *self.stacks[main])
        for region in covered:
            now[region] = len(self.stacks)
            self.stacks.append((number, *self.stacks[region]))
        return now[below]

    def table(self) -> RegionSegments | None:
        """The segments of each region; None if no objects overlap."""
        if not self.overlaps:
            return None
        crowds = [(k,) if crowd else () for k, crowd in enumerate(self.crowds, 1)]
        rest = [()] * (len(self.stacks) - 1 - len(crowds))
        return tuple(a or b for a, b in zip(self.stacks[1:], [*crowds, *rest]))


def paint_instances(
    results: Mapping, codes: Sequence[Mapping], flat: bool = False
) -> tuple[np.ndarray, RegionSegments | None]:
    """Map of regions of an ``InstanceDataset`` sample.

    Crowds lie below, and hide nothing.

    Args:
        results: Sample with ``height``, ``width``, ``segments_info``, and optionally ``on_top``.
        codes: Compressed run-length codes of the S segments.
        flat: Whether each pixel belongs to the topmost segment alone.

    Returns:
        Map of shape (H, W), int16: 0 is void, k up to S is a region whose topmost segment is number
        k, and more are other regions. And the segments of each region, or None where no objects
        overlap; then the map is one of segments.

    Raises:
        TooManyRegions: If S and the overlaps are more than ``MAX_SEGMENTS``.
    """
    segments = results['segments_info']
    # in Fortran order, as pycocotools has its masks
    region_map = np.zeros((results['height'], results['width']), np.int16, order='F')
    if not codes:
        return np.ascontiguousarray(region_map), None
    areas = [code_area(code) for code in codes]  # pycocotools fails for a list of more than 255
    boxes = mask_utils.toBbox(codes).astype(int).tolist()
    stacks = _Stacks([segment['iscrowd'] for segment in segments])
    for k in painting_order(segments, areas, results.get('on_top', 'smaller')):
        left, top, width, height = boxes[k]
        window = np.s_[top : top + height, left : left + width]
        inside, part = decode_mask(codes[k])[window], region_map[window]
        if flat or segments[k]['iscrowd']:
            part[inside] = k + 1
        else:
            part[inside] = stacks.lay(k + 1, part[inside])
    return np.ascontiguousarray(region_map), stacks.table()


def topmost_map(region_map: np.ndarray, region_segments: RegionSegments | None) -> np.ndarray:
    """Map of the topmost segment of each pixel, from a map of regions of any shape."""
    if region_segments is None:
        return region_map
    return np.array([0, *(stack[0] for stack in region_segments)], region_map.dtype)[region_map]


def derive_full_targets(
    region_map: np.ndarray,
    segments: Sequence[Mapping],
    region_segments: RegionSegments,
    ignore: Collection[str] = (),
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Targets of the instance task with whole masks, of objects that overlap.

    Args:
        region_map: Map of shape (H, W), see ``paint_instances``.
        segments: See ``derive_targets``.
        region_segments: The segments of each region.
        ignore: See ``derive_targets``.

    Returns:
        Labels of the N targets as by ``derive_targets``. The target map of shape (H, W) and the
        dtype of ``region_map``: 0 is background, -1 is unknown, and others are regions, of which
        region k up to N is where target k - 1 lies alone. And the regions of each target, bool of
        shape (N, R); None where no targets overlap.
    """
    present = count_values(region_map, len(region_segments) + 1) > 0
    taught = [segment['isthing'] and not segment['iscrowd'] for segment in segments]
    stacks = {
        region: [k for k in stack if taught[k - 1]]
        for region, stack in enumerate(region_segments, 1)
        if present[region]
    }
    seen = {k for stack in stacks.values() for k in stack}
    target_of = {k: n for n, k in enumerate(sorted(seen), 1)}
    labels = np.array([segments[k - 1]['label'] for k in target_of], np.int64)
    number_of = {(n,): n for n in target_of.values()}
    lookup = np.zeros(len(region_segments) + 1, region_map.dtype)
    lookup[0] = -1 if 'void' in ignore else 0
    for region, stack in stacks.items():
        if stack:
            targets = tuple(sorted(target_of[k] for k in stack))
            lookup[region] = number_of.setdefault(targets, len(number_of) + 1)
        elif segments[region_segments[region - 1][0] - 1]['iscrowd'] and 'crowd' in ignore:
            lookup[region] = -1
    target_map = lookup.take(region_map)
    if len(number_of) == len(labels):
        return labels, target_map, None
    regions = np.zeros((len(labels), len(number_of)), bool)
    for targets, number in number_of.items():
        regions[np.array(targets) - 1, number - 1] = True
    return labels, target_map, regions
