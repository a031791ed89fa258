"""Colours of classes, and a shade of its class's colour for each instance.

Legend: K classes, R regions.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

_LEVELS = 7  # levels of lightness
_SPAN = 60  # lightness between the darkest and the lightest, of 100
_DARKEST, _LIGHTEST = 15, 95
_STEPS = 64  # steps from black to a colour, and from there to white
_APART = 2  # levels between neighbours
_TURNS = (0, 10, -10)  # degrees of hue, when all levels have been used
_CHROMAS = (1, 0.7, 0.45)
_ALL_TURNS = len(_TURNS) * len(_CHROMAS)
_NEAR = (1, 2, 4, 8)  # pixels between neighbours
_SIDE = 1024  # pixels of a map in which neighbours are looked for


def class_colors(num_classes: int, palette: Sequence | None) -> np.ndarray:
    """Colours of the classes: the dataset's, or evenly spread hues; uint8, (K, 3)."""
    if palette is not None and len(palette) == num_classes:
        return np.array(palette, np.uint8)
    hues = np.arange(num_classes) * 180 * 0.618 % 180
    hsv = np.stack([hues, np.full(num_classes, 170), np.full(num_classes, 230)], 1)
    return cv2.cvtColor(hsv[None].astype(np.uint8), cv2.COLOR_HSV2RGB)[0]


def neighbours(region_map: np.ndarray, labels: Sequence[int]) -> dict[int, set[int]]:
    """Regions of the same label that touch each region, or nearly so.

    Args:
        region_map: Map of shape (H, W): k is region k from 1, others are not regions.
        labels: Labels of the regions.
    """
    step = max(1, max(region_map.shape) // _SIDE)
    small = region_map[::step, ::step].astype(np.int64)
    label_of = np.array([-1, *labels])
    near, base = defaultdict(set), len(labels) + 1
    for distance in _NEAR:
        for one, other in (
            (small[distance:], small[:-distance]),
            (small[:, distance:], small[:, :-distance]),
        ):
            between = (one != other) & (one > 0) & (other > 0)
            pairs = np.unique(one[between] * base + other[between])
            first, second = pairs // base, pairs % base
            alike = label_of[first] == label_of[second]
            for a, b in zip(first[alike].tolist(), second[alike].tolist()):
                near[a].add(b)
                near[b].add(a)
    return near


def _levels(lightness: float) -> tuple[np.ndarray, int]:
    """Levels of lightness around that of a colour, which is one of them, and its position."""
    lowest = float(np.clip(lightness - _SPAN / 2, _DARKEST, _LIGHTEST - _SPAN))
    levels = np.linspace(lowest, lowest + _SPAN, _LEVELS)
    own = int(abs(levels - lightness).argmin())
    levels[own] = lightness
    return levels, own


def _ramp(color: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours from black over a colour to white, RGB in [0, 1], and their lightness, to 100."""
    shares = np.linspace(0, 1, _STEPS + 1, dtype=np.float32)[:, None]
    middle = color.astype(np.float32) / 255
    ramp = np.concatenate([middle * shares, (middle + (1 - middle) * shares)[1:]])
    return ramp, cv2.cvtColor(ramp[None], cv2.COLOR_RGB2LAB)[0, :, 0]


def _turned(shade: np.ndarray, turn: int) -> np.ndarray:
    """A colour in [0, 1] with another hue and saturation, as uint8."""
    hsv = cv2.cvtColor(shade[None, None], cv2.COLOR_RGB2HSV)[0, 0]
    hsv[0] = (hsv[0] + _TURNS[turn % len(_TURNS)]) % 360
    hsv[1] *= _CHROMAS[turn // len(_TURNS) % len(_CHROMAS)]
    return (cv2.cvtColor(hsv[None, None], cv2.COLOR_HSV2RGB)[0, 0] * 255).round().astype(np.uint8)


def choose_levels(
    labels: Sequence[int], near: dict[int, set[int]], own_levels: Mapping[int, int]
) -> list[tuple[int, int]]:
    """Level and turn of each region.

    The regions of a class go through the levels in their order, from that of the class, and take
    the next that no region of the class has and no neighbour nearly has; when all are in use they
    go through them again with another turn. So the first of each class has exactly its colour, and
    the choice depends neither on other classes nor on later regions.

    Args:
        labels: Labels of the regions.
        near: Neighbours of the same label, by region from 1.
        own_levels: Position of each class's own colour among its levels.
    """
    chosen: list[tuple[int, int]] = []
    used: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
    for number, label in enumerate(labels, start=1):
        taken = [chosen[other - 1][0] for other in near.get(number, ()) if other < number]
        room = [min((abs(k - other) for other in taken), default=_LEVELS) for k in range(_LEVELS)]
        wanted = min(_APART, max(room))
        # steps of three lead through all seven, and far from each other
        order = [(own_levels[label] + 3 * k) % _LEVELS for k in range(_LEVELS)]
        order = [level for level in order if room[level] >= wanted]
        free = ((k, turn) for turn in range(_ALL_TURNS) for k in order)
        mine = used[label]
        choice = next((pair for pair in free if pair not in mine), None)
        if choice is None:  # so many that shades are used again
            mine.clear()
            choice = order[0], 0
        mine.add(choice)
        chosen.append(choice)
    return chosen


def region_colors(region_map: np.ndarray, labels: Sequence[int], colors: np.ndarray) -> np.ndarray:
    """A shade of its class's colour for each region.

    Args:
        region_map: Map of shape (H, W): k is region k from 1, others are not regions.
        labels: Labels of the regions; the first of each class gets exactly its colour.
        colors: Colours of the classes, RGB, uint8 of shape (K, 3).

    Returns:
        Colours in RGB, uint8 of shape (R + 1, 3), black for 0.
    """
    shades = np.zeros((len(labels) + 1, 3), np.uint8)
    if not len(labels):
        return shades
    ramps = {label: _ramp(colors[label]) for label in set(labels)}
    levels = {label: _levels(lightness[_STEPS]) for label, (_, lightness) in ramps.items()}
    own = {label: position for label, (_, position) in levels.items()}
    chosen = choose_levels(labels, neighbours(region_map, labels), own)
    for number, (label, (level, turn)) in enumerate(zip(labels, chosen), start=1):
        if level == own[label] and turn == 0:
            shades[number] = colors[label]  # without rounding
            continue
        ramp, lightness = ramps[label]
        shade = [np.interp(levels[label][0][level], lightness, ramp[:, c]) for c in range(3)]
        shades[number] = _turned(np.array(shade, np.float32), turn)
    return shades
