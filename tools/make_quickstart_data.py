"""Draws a small panoptic data set in COCO format for the quick start, deterministic for a seed.

Photograph-like scenes of 2-3 textured stuff regions (sky, grass, water, brick wall) with up to five
shaded things (ball, crate, starfish, life ring) that may hide each other, some with a crowd of
small things. Rocks and blurred borders are void, speckles and scratches belong to what they lie on.

    OUT_DIR/{train,val}/*.jpg                images, three shapes, two of them not square
    OUT_DIR/panoptic_{train,val}/*.png       segment id = R + 256 G + 65536 B, 0 is void
    OUT_DIR/panoptic_{train,val}.json        official COCO panoptic format

Legend: H, W pixels of an image; h, w pixels of a sprite; all colours are RGB in [0, 1], and all
drawing functions take the random generator first and draw nothing but what it tells them.
"""

import argparse
import json
import math
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

VERSION = 1  # to be raised with every change of what is drawn, since finished sets are reused
SPLITS = ('train', 'val')
SHAPES = ((1, 1), (0.8, 1.25), (1.25, 1))  # height and width as multiples of the size
MIN_VISIBLE = 0.35  # share of a thing that has to stay visible
MIN_AREA = 150 / 160**2  # smallest segment that is annotated, as a share of size * size


def fractal_noise(rng, shape, cells, octaves=4):
    """Multi-octave noise in [0, 1] of the given shape, the coarsest with `cells` = (rows, cols)."""
    noise = np.zeros(shape, np.float32)
    for octave in range(octaves):
        grid = rng.random([2**octave * cell + 1 for cell in cells], np.float32)
        noise += cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC) / 2**octave
    return cv2.normalize(noise, None, 0, 1, cv2.NORM_MINMAX)


def mix(first, second, weight):
    """Blends two colours, or images h w 3, by a weight map h w (0: the first)."""
    return first + (np.asarray(second, np.float32) - first) * np.float32(weight)[..., None]


def vary(rng, *colours, amount=0.06):
    """The colours, each moved by up to `amount` per channel."""
    return np.float32(colours) + rng.uniform(-amount, amount, (len(colours), 3)).astype(np.float32)


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
CATEGORIES = [
    {
        'id': number,
        'name': name,
        'supercategory': group,
        'isthing': int(name in THINGS),
        'color': color,
    }
    for number, (name, (group, color, *_)) in enumerate({**THINGS, **STUFF}.items(), 1)
]
CATEGORY_IDS = {category['name']: category['id'] for category in CATEGORIES}


class Layer(NamedTuple):
    """Something to lay over an image: colour H W 3, opacity H W, whole area in pixels."""

    colour: np.ndarray
    opacity: np.ndarray
    area: float
    category_id: int = 0  # 0: void
    iscrowd: int = 0


def shade(albedo, distance, rim, light, radius):
    """Lambert shading and a highlight for a surface that is flat but for a round rim."""
    inwards = 1 - np.clip(-distance / rim, 0, 1)
    slope_y, slope_x = np.gradient(rim * radius * np.sqrt(1 - inwards**2))
    facing = light[2] - slope_x * light[0] - slope_y * light[1]
    facing = np.clip(facing / np.sqrt(1 + slope_x**2 + slope_y**2), 0, 1)
    return mix(albedo * (0.45 + 0.7 * facing[..., None]), (1, 1, 1), 0.5 * facing**40)


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


def draw_stuff(rng, shape, size):
    """An image H W 3 of 2-3 regions from top to bottom and its category ids H W, with 0 as void."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) / size
    upper, lower = ['sky', 'brick wall'], list(rng.permutation(['grass', 'water']))
    dropped = rng.choice(4, rng.integers(1, 3), replace=False)
    names = [name for place, name in enumerate(upper + lower) if place not in dropped]
    image, category_ids = STUFF[names[0]][2](rng, y, x), np.full(shape, CATEGORY_IDS[names[0]])
    for place, name in enumerate(names[1:], start=1):
        roughness = fractal_noise(rng, shape, (2, 4), 5) - 0.5
        level = shape[0] / size * (place + rng.uniform(-0.25, 0.25)) / len(names)
        depth = (
            y - level - rng.uniform(-0.25, 0.25) * (x - 0.5) + rng.uniform(0.1, 0.35) * roughness
        )
        image = mix(image, STUFF[name][2](rng, y, x), np.clip(0.5 + depth * size / 2, 0, 1))
        category_ids[depth > 0] = CATEGORY_IDS[name]
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


def draw_layers(rng, shape, size, light):
    """The objects of a scene from back to front, each visible enough to be learned."""
    centers, layers = [], []
    thing_names = list(THINGS)
    count = 0 if rng.random() < 0.05 else rng.choice([1, 2, 3, 4, 5], p=[0.2, 0.3, 0.25, 0.15, 0.1])
    if count and rng.random() < 0.11:
        name = thing_names[rng.integers(len(THINGS))]
        crowd = draw_crowd(rng, THINGS[name][2:], shape, size, light)
        layers.append(crowd._replace(category_id=CATEGORY_IDS[name]))
    for name in [None] * int(rng.random() < 0.35) + [rng.choice(thing_names) for _ in range(count)]:
        side = size * (rng.uniform(0.15, 0.3) if name is None else rng.uniform(0.22, 0.56))
        places = rng.uniform(0.3 * side, np.subtract(shape, 0.3 * side), (4, 2))
        gaps = [
            min((math.dist(place, center) for center in centers), default=0) for place in places
        ]
        centers.append(places[np.argmax(gaps)])
        kind = THINGS[name][2:] if name else ROCK
        layer = draw_thing(rng, kind, shape, centers[-1], side, light)
        layers.append(layer._replace(category_id=CATEGORY_IDS.get(name, 0)))
    covered, kept = np.zeros(shape, bool), []
    for layer in reversed(layers):
        visible = (layer.opacity > 0.5) & ~covered
        if visible.sum() >= max(MIN_VISIBLE * layer.area, MIN_AREA * size**2):
            covered |= visible
            kept.insert(0, layer)
    return kept


def lay_over(image, layer, light, size):
    """An image with a layer on top, which throws a soft shadow away from the light."""
    away = np.float32([[1, 0, -0.04 * size * light[0]], [0, 1, -0.04 * size * light[1]]])
    shadow = cv2.warpAffine(layer.opacity, away, layer.opacity.shape[::-1])
    shadow = 0.5 * cv2.GaussianBlur(shadow, (0, 0), 0.025 * size)
    return mix(mix(image, (0, 0, 0), shadow), layer.colour, layer.opacity)


def photograph(rng, image):
    """What a camera makes of a scene: uneven light, a colour cast, slight blur, noise; uint8."""
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    slope_y, slope_x, vignette = rng.uniform((-0.2, -0.2, 0), (0.2, 0.2, 0.12))
    gain = rng.uniform(0.85, 1.1) * (1 + slope_y * y + slope_x * x - vignette * (y**2 + x**2))
    image = image * gain[..., None] * rng.uniform(0.94, 1.06, 3)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.8))
    image += rng.normal(0, rng.uniform(0.008, 0.03), image.shape)
    return np.uint8(255 * np.clip(image, 0, 1))


def draw_scene(rng, size):
    """One scene: image H W 3 uint8 RGB, segment ids H W int32 and COCO's list `segments_info`.

    Ids are random below 2^24, 0 is void. What would be too small to learn is void, too.
    """
    shape = tuple(round(size * factor) for factor in SHAPES[rng.integers(len(SHAPES))])
    azimuth = rng.uniform(0, 2 * np.pi)
    light = np.array([0.6 * np.cos(azimuth), 0.6 * np.sin(azimuth), 0.8])
    image, stuff_ids = draw_stuff(rng, shape, size)
    image = add_clutter(rng, image, size)
    parts = [(int(number), 0, stuff_ids == number) for number in np.unique(stuff_ids) if number]
    for layer in draw_layers(rng, shape, size, light):
        image = lay_over(image, layer, light, size)
        mask = layer.opacity > 0.5
        parts = [(number, iscrowd, part & ~mask) for number, iscrowd, part in parts]
        parts += [(layer.category_id, layer.iscrowd, mask)] if layer.category_id else []

    parts = [part for part in parts if part[2].sum() >= MIN_AREA * size**2]
    ids, segments_info = np.zeros(shape, np.int32), []
    segment_ids = (1 + rng.choice(2**24 - 1, len(parts), replace=False)).tolist()
    for segment_id, (number, iscrowd, part) in zip(segment_ids, parts):
        ids[part] = segment_id
        segments_info.append(
            {
                'id': segment_id,
                'category_id': number,
                'area': int(part.sum()),
                'bbox': list(cv2.boundingRect(np.uint8(part))),
                'iscrowd': iscrowd,
            }
        )
    return photograph(rng, image), ids, segments_info


def encode(suffix, image, *flags):
    """The bytes of an image file, from RGB."""
    return cv2.imencode(suffix, image[..., ::-1], flags)[1].tobytes()


def write_scene(folder, split, number, seed, size):
    """Draws and writes one scene; returns its entries for `images` and `annotations`."""
    rng = np.random.default_rng([seed, SPLITS.index(split), number])
    image, ids, segments_info = draw_scene(rng, size)
    name = f'{number:06d}'
    rgb_ids = np.stack([ids, ids >> 8, ids >> 16], axis=-1).astype(np.uint8)
    jpeg = encode('.jpg', image, cv2.IMWRITE_JPEG_QUALITY, 95)
    (folder / split / f'{name}.jpg').write_bytes(jpeg)
    (folder / f'panoptic_{split}' / f'{name}.png').write_bytes(encode('.png', rgb_ids))
    height, width = ids.shape
    return (
        {'id': number, 'file_name': f'{name}.jpg', 'width': width, 'height': height},
        {'image_id': number, 'file_name': f'{name}.png', 'segments_info': segments_info},
    )


def write_split(folder, split, count, info, workers):
    """Writes the images, the id maps and the json file of one split; returns what json holds."""
    (folder / split).mkdir(parents=True)
    (folder / f'panoptic_{split}').mkdir()
    with ThreadPoolExecutor(workers) as pool:
        entries = list(
            pool.map(
                lambda number: write_scene(folder, split, number, info['seed'], info['size']),
                range(1, count + 1),
            )
        )
    images, annotations = zip(*entries)
    panoptic = {
        'info': info,
        'images': images,
        'annotations': annotations,
        'categories': CATEGORIES,
    }
    (folder / f'panoptic_{split}.json').write_text(json.dumps(panoptic))
    return panoptic


def holds(folder, info):
    """Whether a folder is a set that was made with the parameters `info`."""
    try:
        found = [
            json.loads((folder / f'panoptic_{split}.json').read_text())['info'] for split in SPLITS
        ]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return found == [info] * len(SPLITS)


def generate(out_dir, train=480, val=80, size=160, seed=0, workers=2):
    """Writes the data set to `out_dir`, all of it or nothing, and prints one line with counts.

    Args:
        out_dir: Folder to create. One that holds the same set already is left as it is.
        train, val: Numbers of images, from 1.
        size: Nominal image side in pixels, from 32; heights and widths are 0.8 to 1.25 times that.
        seed: From 0. The files depend on it and on `size` only, not on `workers`.
        workers: Threads, from 1.

    Raises:
        FileExistsError: `out_dir` has other content.
        ValueError: A number is out of its range.
    """
    if min(train, val) < 1 or size < 32:
        raise ValueError('train and val have to be at least 1, size at least 32')
    out_dir = Path(out_dir).resolve()
    info = {
        'description': 'OneFormer quick start: drawn scenes',
        'version': VERSION,
        'train': train,
        'val': val,
        'size': size,
        'seed': seed,
    }
    if holds(out_dir, info):
        print(f'{out_dir} already holds this set: {train} train and {val} val images')
        return
    if out_dir.is_file() or out_dir.is_dir() and any(out_dir.iterdir()):
        raise FileExistsError(
            f'{out_dir} exists and is not the set asked for: delete it or choose another folder'
        )
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f'.{out_dir.name}-') as temporary:
        folder = Path(temporary) / 'set'
        written = [
            write_split(folder, split, count, info, workers)
            for split, count in zip(SPLITS, (train, val))
        ]
        folder.replace(out_dir)
    segments = sum(
        len(annotation['segments_info'])
        for panoptic in written
        for annotation in panoptic['annotations']
    )
    print(f'{out_dir}: {train} train and {val} val images with {segments} segments')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out_dir', help='folder to create')
    parser.add_argument('--train', type=int, default=480, help='images to train on (%(default)s)')
    parser.add_argument('--val', type=int, default=80, help='images to evaluate on (%(default)s)')
    parser.add_argument('--size', type=int, default=160, help='image side, pixels (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the random numbers (%(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='threads (%(default)s)')
    try:
        generate(**vars(parser.parse_args()))
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
