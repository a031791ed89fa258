"""Draws a small panoptic dataset in COCO format for the quick start, deterministic for a seed.

Photograph-like scenes of 2-3 textured stuff regions (sky, grass, water, brick wall) with up to five
shaded things (ball, crate, starfish, life ring) that may hide each other, some with a crowd of
small things. Rocks and blurred borders are void, speckles and scratches belong to what they lie on.
`--scenes streets` draws streets of 480 pixels with cars, pedestrians and poles of 6 to 20 pixels,
`--scenes lookalikes` things of at most two classes, and classes come in similar pairs.

    OUT_DIR/{train,val}/*.jpg                images, three shapes, two of them not square
    OUT_DIR/panoptic_{train,val}/*.png       segment id = R + 256 G + 65536 B, 0 is void
    OUT_DIR/panoptic_{train,val}.json        COCO panoptic format

Legend: H, W pixels of an image; h, w pixels of a sprite; all colours are RGB in [0, 1], and all
drawing functions take the random generator first and use no other randomness.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

from . import lookalikes, streets, toys
from .canvas import fractal_noise, mix, photograph, shade
from .files import number_segments, write_set
from .toys import ROCK, World

VERSION = 1  # to be raised with every change of the drawing, since finished datasets are reused
SHAPES = ((1, 1), (0.8, 1.25), (1.25, 1))  # height and width as multiples of the size
MIN_AREA = 150 / 160**2  # smallest segment that is annotated, as a share of size * size


# kinds of scenes, with their default sizes and numbers of images
SCENES = {
    'toys': dict(
        drawn='scenes', version=VERSION, train=480, val=80, size=160, categories=toys.CATEGORIES
    ),
    'lookalikes': dict(
        drawn='look-alikes',
        version=lookalikes.VERSION,
        train=480,
        val=160,
        size=160,
        categories=lookalikes.WORLD.categories,
        draw=lambda rng, size: draw_scene(rng, size, lookalikes.WORLD),
    ),
    'streets': dict(
        drawn='streets',
        version=streets.VERSION,
        train=240,
        val=40,
        size=480,
        categories=streets.CATEGORIES,
        draw=streets.draw_street,
    ),
}


class Layer(NamedTuple):
    """A layer for an image: colour H W 3, opacity H W, whole area in pixels."""

    colour: np.ndarray
    opacity: np.ndarray
    area: float
    category_id: int = 0  # 0: void
    iscrowd: int = 0


def draw_thing(rng, kind, shape, center, side, light):
    """A `Layer` with one object of the kind (painter, outline, rim) in a circle of diameter `side`.

    `shape` = (H, W) and `center` = (y, x) are in pixels, `light` points to the lamp: x, y, z.
    """
    painter, outline, rim = kind
    half = math.ceil(side / 2) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32) * 2 / side
    angle = rng.uniform(0, 2 * np.pi)
    v, u = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    distance = outline(rng, v, u).astype(np.float32)
    colour = shade(painter(rng, v, u), distance, rim, light, side / 2).astype(np.float32)
    opacity = np.clip(0.5 - distance * side / 2, 0, 1)
    shift = np.float32([[1, 0, round(center[1]) - half], [0, 1, round(center[0]) - half]])
    on_image = [
        cv2.warpAffine(sprite, shift, shape[::-1], flags=cv2.INTER_NEAREST)
        for sprite in (colour, opacity)
    ]
    return Layer(*on_image, area=opacity.sum())


def draw_crowd(rng, kind, shape, size, light):
    """A `Layer` with 9 to 16 touching objects of one kind on a jittered lattice."""
    side = rng.uniform(0.13, 0.16) * size
    step = 0.62 * side
    rows, cols = rng.integers(3, 5, 2)
    top, left = rng.uniform(0, np.subtract(shape, (rows * step, cols * step)))
    colour, opacity = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
    for row, col in np.ndindex(rows, cols):
        y, x = (row, col) + rng.uniform(0.25, 0.75, 2)
        member = draw_thing(rng, kind, shape, (top + step * y, left + step * x), side, light)
        colour = mix(colour, member.colour, member.opacity)
        opacity = np.maximum(opacity, member.opacity)
    return Layer(colour, opacity, opacity.sum(), iscrowd=1)


def draw_stuff(rng, shape, size, world):
    """An image H W 3 of 2-3 regions from top to bottom and its category ids H W, with 0 as void."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) / size
    upper, lower = (
        [group[0] if len(group) == 1 else str(rng.choice(group)) for group in groups]
        for groups in (world.upper, world.lower)
    )
    lower = list(rng.permutation(lower))
    dropped = rng.choice(4, rng.integers(1, 3), replace=False)
    names = [name for place, name in enumerate(upper + lower) if place not in dropped]
    image = world.stuff[names[0]][2](rng, y, x)
    category_ids = np.full(shape, world.ids[names[0]])
    for place, name in enumerate(names[1:], start=1):
        roughness = fractal_noise(rng, shape, (2, 4), 5) - 0.5
        level = shape[0] / size * (place + rng.uniform(-0.25, 0.25)) / len(names)
        depth = (
            y - level - rng.uniform(-0.25, 0.25) * (x - 0.5) + rng.uniform(0.1, 0.35) * roughness
        )
        image = mix(image, world.stuff[name][2](rng, y, x), np.clip(0.5 + depth * size / 2, 0, 1))
        category_ids[depth > 0] = world.ids[name]
    if rng.random() < 0.4:
        border = cv2.morphologyEx(np.uint8(category_ids), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
        border = cv2.GaussianBlur(np.float32(border), (0, 0), size / 120)
        image = mix(image, cv2.GaussianBlur(image, (0, 0), size / 50), np.clip(2 * border, 0, 1))
        category_ids[border > 0.4] = 0
    return image, category_ids


def add_clutter(rng, image, size):
    """Lays speckles, scratches and large soft shadows, none of them annotated, over an image."""
    height, width = image.shape[:2]
    marks, paint = np.zeros((height, width), np.float32), rng.uniform(0.05, 0.9, 3)
    for _ in range(rng.integers(5, 40)):
        y, x = rng.uniform(0, (height, width))
        dy, dx = rng.normal(0, size / 25, 2) if rng.random() < 0.2 else (0, 0)
        cv2.line(
            marks,
            (int(x), int(y)),
            (int(x + dx), int(y + dy)),
            rng.uniform(0.3, 0.9),
            int(rng.integers(1, 2 + size // 100)),
            cv2.LINE_AA,
        )
    shadows = np.clip(1.5 * fractal_noise(rng, marks.shape, (2, 2), 2) - 0.8, 0, 0.35)
    return mix(mix(image, paint, marks), (0, 0, 0), shadows)


def draw_layers(rng, shape, size, light, world):
    """The objects of a scene from back to front, each visible enough to be learned."""
    centers, layers = [], []
    thing_names = list(world.things)
    if world.kinds is not None:
        thing_names = list(rng.choice(thing_names, world.kinds, replace=False))
    counts = list(world.counts)
    count = 0 if rng.random() < 0.05 else rng.choice(counts, p=list(world.counts.values()))
    if count and rng.random() < 0.11:
        name = thing_names[rng.integers(len(thing_names))]
        crowd = draw_crowd(rng, world.things[name][2:], shape, size, light)
        layers.append(crowd._replace(category_id=world.ids[name]))
    for name in [None] * int(rng.random() < 0.35) + [rng.choice(thing_names) for _ in range(count)]:
        side = size * (rng.uniform(0.15, 0.3) if name is None else rng.uniform(0.22, 0.56))
        places = rng.uniform(0.3 * side, np.subtract(shape, 0.3 * side), (4, 2))
        gaps = [
            min((math.dist(place, center) for center in centers), default=0) for place in places
        ]
        centers.append(places[np.argmax(gaps)])
        kind = world.things[name][2:] if name else ROCK
        layer = draw_thing(rng, kind, shape, centers[-1], side, light)
        layers.append(layer._replace(category_id=world.ids.get(name, 0)))
    covered, kept = np.zeros(shape, bool), []
    for layer in reversed(layers):
        visible = (layer.opacity > 0.5) & ~covered
        if visible.sum() >= max(world.min_visible * layer.area, MIN_AREA * size**2):
            covered |= visible
            kept.insert(0, layer)
    return kept


def lay_over(image, layer, light, size):
    """An image with a layer on top, which throws a soft shadow away from the light."""
    away = np.float32([[1, 0, -0.04 * size * light[0]], [0, 1, -0.04 * size * light[1]]])
    shadow = cv2.warpAffine(layer.opacity, away, layer.opacity.shape[::-1])
    shadow = 0.5 * cv2.GaussianBlur(shadow, (0, 0), 0.025 * size)
    return mix(mix(image, (0, 0, 0), shadow), layer.colour, layer.opacity)


def draw_scene(rng, size, world: World = toys.WORLD):
    """One scene: image H W 3 uint8 RGB, segment ids H W int32 and COCO's list `segments_info`.

    Ids are random below 2^24, 0 is void. Parts too small to learn are void, too.
    """
    shape = tuple(round(size * factor) for factor in SHAPES[rng.integers(len(SHAPES))])
    azimuth = rng.uniform(0, 2 * np.pi)
    light = np.array([0.6 * np.cos(azimuth), 0.6 * np.sin(azimuth), 0.8])
    image, stuff_ids = draw_stuff(rng, shape, size, world)
    image = add_clutter(rng, image, size)
    parts = [(int(number), 0, stuff_ids == number) for number in np.unique(stuff_ids) if number]
    for layer in draw_layers(rng, shape, size, light, world):
        image = lay_over(image, layer, light, size)
        mask = layer.opacity > 0.5
        parts = [(number, iscrowd, part & ~mask) for number, iscrowd, part in parts]
        parts += [(layer.category_id, layer.iscrowd, mask)] if layer.category_id else []

    parts = [part for part in parts if part[2].sum() >= MIN_AREA * size**2]
    ids, segments_info = number_segments(rng, shape, parts)
    return photograph(rng, image), ids, segments_info


def generate(out_dir, train=None, val=None, size=None, seed=0, workers=2, scenes='toys'):
    """Writes the dataset to `out_dir`, all of it or nothing, and prints one line with counts.

    Args:
        out_dir: Folder to create. One that holds the same dataset already is left as it is.
        train, val: Numbers of images, from 1; by default those of `SCENES`.
        size: Nominal image side in pixels, from 32 (160, of streets 480); heights and widths are
            0.75 to 1.33 times that.
        seed: Seed from 0. The files depend on it, on `scenes` and on `size` only, not on `workers`.
        workers: Threads, from 1.
        scenes: Kind of scenes, a key of `SCENES`.

    Raises:
        FileExistsError: `out_dir` has other content.
        ValueError: A number is out of its range, or there are no such scenes.
    """
    if scenes not in SCENES:
        raise ValueError(f'scenes is {scenes!r}: it takes one of {", ".join(SCENES)}')
    kind = SCENES[scenes]
    numbers = dict(train=train, val=val, size=size)
    numbers = {name: kind[name] if n is None else n for name, n in numbers.items()}
    if min(numbers['train'], numbers['val']) < 1 or numbers['size'] < 32:
        raise ValueError('train and val have to be at least 1, size at least 32')
    info = {
        'description': f'OneFormer quick start: drawn {kind["drawn"]}',
        'version': kind['version'],
        **numbers,
        'seed': seed,
    }
    # toys by the name of their function, which a test may replace
    draw = draw_scene if scenes == 'toys' else kind['draw']
    write_set(out_dir, info, draw, kind['categories'], workers)
