"""Classes that come in pairs which differ in one feature, to tell how often they are confused.

Painters and outlines are those of ``toys``; legend and arguments there.
"""

import cv2
import numpy as np

from . import toys
from .canvas import fractal_noise, mix, vary

VERSION = 2  # to be raised with every change of the drawing, since finished datasets are reused


def paint_striped_ball(rng, v, u):
    """The colours of a ball in bands, not in sectors around a pole."""
    palette = vary(
        rng, (0.85, 0.12, 0.12), (0.95, 0.80, 0.10), (0.10, 0.30, 0.80), (0.95, 0.95, 0.92)
    )
    bands = (np.clip((v + 1) / 2, 0, 0.999) * 6).astype(int) % 4
    return rng.permutation(palette)[bands]


def paint_box(rng, v, u):
    """A crate without its frame and its brace."""
    dark, light = vary(rng, (0.36, 0.22, 0.10), (0.72, 0.52, 0.30))
    board = np.clip(3 * v + 3, 0, 5).astype(int)
    grain = fractal_noise(rng, v.shape, (14, 3), 3)
    wood = mix(dark, light, 0.45 * rng.random(8, np.float32)[board] + 0.55 * grain)
    gap = cv2.morphologyEx(board.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((2, 2))) > 0
    return mix(wood, 0.4 * dark, 0.8 * gap)


def paint_tube(rng, v, u):
    """A life ring with seven bands in place of four."""
    cover, band = vary(rng, (0.93, 0.93, 0.90), (0.88, 0.15, 0.08))
    banded = abs((np.arctan2(v, u) * 7 / (2 * np.pi)) % 1 - 0.5) < rng.uniform(0.16, 0.24)
    dirt = 0.25 * fractal_noise(rng, v.shape, (5, 5))
    return mix(mix(cover, band, banded), (0.35, 0.30, 0.25), dirt)


def paint_meadow(rng, y, x):
    """Grass with flowers."""
    flowers = fractal_noise(rng, y.shape, (26, 40), 1) > 0.78
    (petal,) = vary(rng, (0.93, 0.88, 0.55))
    return mix(toys.paint_grass(rng, y, x), petal, 0.85 * flowers)


def paint_tiled_wall(rng, y, x):
    """The colours of a brick wall, in squares that lie above one another."""
    mortar, dark, light = vary(rng, (0.66, 0.62, 0.57), (0.42, 0.17, 0.12), (0.70, 0.34, 0.24))
    rows = rng.uniform(7, 10)
    warp = 0.3 * fractal_noise(rng, y.shape, (4, 4))
    course, along = rows * y + warp, rows * x + warp
    tint = rng.random((20, 20), np.float32)[course.astype(int), along.astype(int)]
    to_joint = np.minimum(0.5 - abs(course % 1 - 0.5), 0.5 - abs(along % 1 - 0.5))
    grain = fractal_noise(rng, y.shape, (30, 30), 2)
    tiles = mix(dark, light, 0.7 * tint + 0.3 * grain)
    return mix(tiles, mortar * (0.8 + 0.2 * grain[..., None]), np.clip(2 - 14 * to_joint, 0, 1))


def _things() -> dict:
    """Each thing of the toys, and its look-alike behind it."""
    ball, crate, ring = (toys.THINGS[name] for name in ('ball', 'crate', 'life ring'))
    return {
        'ball': ball,
        'striped ball': (ball[0], [250, 120, 140], paint_striped_ball, *ball[3:]),
        'crate': crate,
        'box': (crate[0], [90, 60, 30], paint_box, *crate[3:]),
        'life ring': ring,
        'tube': (ring[0], [150, 0, 120], paint_tube, *ring[3:]),
    }


def _stuff() -> dict:
    """The sky, and each other stuff of the toys with its look-alike behind it."""
    wall, grass = (toys.STUFF[name] for name in ('brick wall', 'grass'))
    return {
        'sky': toys.STUFF['sky'],
        'brick wall': wall,
        'tiled wall': (wall[0], [210, 120, 110], paint_tiled_wall),
        'grass': grass,
        'meadow': (grass[0], [200, 230, 60], paint_meadow),
    }


WORLD = toys.World(
    _things(),
    _stuff(),
    upper=(('sky',), ('brick wall', 'tiled wall')),
    lower=(('grass', 'meadow'),),
    counts={2: 0.3, 3: 0.4, 4: 0.3},
    min_visible=0.25,
    kinds=2,  # so that instances of a class meet, which semantic and panoptic labels tell apart
)
PAIRS = (
    ('ball', 'striped ball'),
    ('crate', 'box'),
    ('life ring', 'tube'),
    ('brick wall', 'tiled wall'),
    ('grass', 'meadow'),
)
