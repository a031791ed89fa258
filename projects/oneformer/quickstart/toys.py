"""Painters and outlines of the quick start: balls, crates, starfish and life rings on four grounds.

Legend: H, W pixels of an image; h, w pixels of a sprite; all colours are RGB in [0, 1], and all
painters take the random generator first.
"""

from typing import NamedTuple

import cv2
import numpy as np

from .canvas import fractal_noise, mix, vary

# Stuff painters: grids y, x in units of the size -> albedo H W 3.


def paint_sky(rng, y, x):
    zenith, horizon, cloud = vary(rng, (0.30, 0.52, 0.85), (0.72, 0.84, 0.95), (0.95, 0.95, 0.96))
    clouds = np.clip(2.6 * fractal_noise(rng, y.shape, (5, 2), 5) - rng.uniform(1.1, 1.7), 0, 1)
    return mix(mix(zenith, horizon, np.clip(1.4 * y, 0, 1)), cloud, clouds)


def paint_grass(rng, y, x):
    shade, blade, straw = vary(rng, (0.10, 0.22, 0.05), (0.38, 0.58, 0.15), (0.66, 0.64, 0.28))
    blades = fractal_noise(rng, y.shape, (16, 45), 3)
    patches = fractal_noise(rng, y.shape, (3, 3))
    return mix(mix(shade, blade, blades), straw, 0.7 * patches**2 * blades)


def paint_water(rng, y, x):
    deep, crest, glint = vary(rng, (0.03, 0.24, 0.33), (0.16, 0.50, 0.55), (0.85, 0.95, 0.95))
    swell = fractal_noise(rng, y.shape, (8, 3), 3)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(14, 22) * y + 2.5 * swell))
    glints = np.clip(6 * wave * fractal_noise(rng, y.shape, (40, 12), 2) - 4, 0, 1)
    return mix(mix(deep, crest, 0.6 * wave + 0.4 * swell), glint, glints)


def paint_brick_wall(rng, y, x):
    mortar, dark, light = vary(rng, (0.66, 0.62, 0.57), (0.42, 0.17, 0.12), (0.70, 0.34, 0.24))
    rows = rng.uniform(9, 13)
    warp = 0.3 * fractal_noise(rng, y.shape, (4, 4))
    course = rows * y + warp
    along = rows / 2.3 * x + warp + 0.5 * (course.astype(int) % 2)
    tint = rng.random((20, 20), np.float32)[course.astype(int), along.astype(int)]
    to_joint = np.minimum(0.5 - abs(course % 1 - 0.5), 2.3 * (0.5 - abs(along % 1 - 0.5)))
    grain = fractal_noise(rng, y.shape, (30, 30), 2)
    bricks = mix(dark, light, 0.7 * tint + 0.3 * grain)
    return mix(bricks, mortar * (0.8 + 0.2 * grain[..., None]), np.clip(2 - 14 * to_joint, 0, 1))


# Thing painters: grids v, u of the object's own frame in [-1, 1] -> albedo h w 3.


def paint_ball(rng, v, u):
    palette = vary(
        rng, (0.85, 0.12, 0.12), (0.95, 0.80, 0.10), (0.10, 0.30, 0.80), (0.95, 0.95, 0.92)
    )
    pole_v, pole_u = rng.uniform(-0.45, 0.45, 2)
    angle = np.arctan2(v - pole_v, u - pole_u)
    panels = rng.permutation(palette)[((angle / np.pi + 1) * 4).astype(int) % 4]
    cap = np.hypot(v - pole_v, u - pole_u) < 0.16
    return mix(panels, palette[3], cap)


def paint_crate(rng, v, u):
    dark, light = vary(rng, (0.36, 0.22, 0.10), (0.72, 0.52, 0.30))
    framed = np.maximum(abs(v), abs(u)) > 0.5
    braced = abs(u - v) < 0.2
    board = np.where(framed, 7, np.where(braced, 6, np.clip(3 * v + 3, 0, 5).astype(int)))
    grain = fractal_noise(rng, v.shape, (14, 3), 3)
    wood = mix(dark, light, 0.45 * rng.random(8, np.float32)[board] + 0.55 * grain)
    gap = cv2.morphologyEx(board.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((2, 2))) > 0
    return mix(wood, 0.4 * dark, 0.8 * gap)


def paint_starfish(rng, v, u):
    skin, edge, wart = vary(rng, (0.90, 0.42, 0.12), (0.62, 0.16, 0.22), (0.98, 0.82, 0.58))
    radius = np.hypot(v, u)
    warts = fractal_noise(rng, v.shape, (11, 11), 1) > 0.66
    return mix(mix(skin, edge, np.clip(radius, 0, 1)), wart, 0.8 * warts)


def paint_life_ring(rng, v, u):
    cover, band = vary(rng, (0.93, 0.93, 0.90), (0.88, 0.15, 0.08))
    banded = abs((np.arctan2(v, u) / (np.pi / 2)) % 1 - 0.5) < rng.uniform(0.16, 0.24)
    dirt = 0.25 * fractal_noise(rng, v.shape, (5, 5))
    return mix(mix(cover, band, banded), (0.35, 0.30, 0.25), dirt)


def paint_rock(rng, v, u):
    dark, light = vary(rng, (0.22, 0.22, 0.22), (0.62, 0.60, 0.58))
    return mix(dark, light, fractal_noise(rng, v.shape, (4, 4), 5))


# Outlines: grids v, u -> signed distance to the outline, negative inside, within the unit circle.


def ball_outline(rng, v, u):
    return np.hypot(v, u) - 0.98


def crate_outline(rng, v, u):
    return np.maximum(abs(v) * rng.uniform(1, 1.25), abs(u)) - 0.69


def starfish_outline(rng, v, u):
    """One edge from a tip to a notch, repeated by folding the plane into a tenth of the star."""
    fold = abs((np.arctan2(v, u) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    notch = rng.uniform(0.42, 0.5) * np.exp(1j * np.pi / 5)
    normal = 1j * (0.9 - notch) / abs(0.9 - notch)
    point = np.hypot(v, u) * np.exp(1j * fold) - 0.9
    return (point * np.conj(normal)).real - 0.06


def life_ring_outline(rng, v, u):
    return abs(np.hypot(v, u) - 0.7) - rng.uniform(0.22, 0.28)


def rock_outline(rng, v, u):
    angle = np.arctan2(v, u)
    bumps = sum(rng.uniform(0, 0.1) * np.sin(k * angle + rng.uniform(0, 6)) for k in (1, 2, 3))
    return np.hypot(v, u) - 0.7 - bumps


# Name -> supercategory, colour, painter; things also outline and width of the round rim.
THINGS = {
    'ball': ('toy', [220, 20, 60], paint_ball, ball_outline, 1),
    'crate': ('container', [165, 110, 50], paint_crate, crate_outline, 0.06),
    'starfish': ('animal', [255, 140, 0], paint_starfish, starfish_outline, 0.3),
    'life ring': ('equipment', [255, 0, 200], paint_life_ring, life_ring_outline, 0.25),
}
STUFF = {
    'sky': ('sky', [70, 130, 180], paint_sky),
    'brick wall': ('building', [150, 70, 70], paint_brick_wall),
    'grass': ('ground', [90, 200, 60], paint_grass),
    'water': ('water', [0, 170, 170], paint_water),
}
ROCK = (paint_rock, rock_outline, 0.5)


class World(NamedTuple):
    """What scenes are made of.

    Attributes:
        things: Kinds of things by name, see ``THINGS``.
        stuff: Kinds of stuff by name, see ``STUFF``.
        upper: Groups of stuff that lie over one another, from the top; a scene has one of a group.
        lower: The same, below, in any order.
        counts: Probabilities of numbers of things, where there are any.
        min_visible: Share of a thing that has to stay visible.
        kinds: Number of kinds of things that a scene has at most; None for any.
    """

    things: dict
    stuff: dict
    upper: tuple[tuple[str, ...], ...]
    lower: tuple[tuple[str, ...], ...]
    counts: dict[int, float]
    min_visible: float
    kinds: int | None = None

    @property
    def ids(self) -> dict[str, int]:
        """Category ids by name, from 1."""
        return {name: number for number, name in enumerate([*self.things, *self.stuff], 1)}

    @property
    def categories(self) -> list[dict]:
        """Categories of COCO's panoptic format."""
        kinds = {**self.things, **self.stuff}
        return [
            {
                'id': number,
                'name': name,
                'supercategory': kinds[name][0],
                'isthing': int(name in self.things),
                'color': kinds[name][1],
            }
            for name, number in self.ids.items()
        ]


WORLD = World(
    THINGS,
    STUFF,
    upper=(('sky',), ('brick wall',)),
    lower=(('grass',), ('water',)),
    counts={1: 0.2, 2: 0.3, 3: 0.25, 4: 0.15, 5: 0.1},
    min_visible=0.35,
)
CATEGORIES = WORLD.categories
CATEGORY_IDS = WORLD.ids
