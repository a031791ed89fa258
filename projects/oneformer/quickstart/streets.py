"""Streets of 480 pixels with small things: cars, pedestrians and poles of 6 to 20 pixels.

A sky over a row of buildings, trees, pavements and a textured road that narrow towards a horizon;
on the ground, the smaller the farther away, things whose side (root of the area) is ``SIDES``
pixels. Distances are in pixels; all drawing functions take the random generator first.
"""

import cv2
import numpy as np

from .canvas import fractal_noise, mix, photograph, vary
from .files import number_segments
from .street_things import THINGS

STUFF = {
    'sky': ('sky', [70, 130, 180]),
    'building': ('building', [150, 70, 70]),
    'vegetation': ('plant', [90, 160, 40]),
    'pavement': ('ground', [240, 35, 230]),
    'road': ('ground', [128, 64, 128]),
}
VERSION = 1  # to be raised with every change of the drawing, since finished datasets are reused
NAMES = [*THINGS, *STUFF]
IDS = {name: number for number, name in enumerate(NAMES, 1)}
CATEGORIES = [
    {'id': number, 'name': name, 'supercategory': group, 'isthing': int(name in THINGS), 'color': c}
    for number, (name, (group, c, *_)) in enumerate({**THINGS, **STUFF}.items(), 1)
]
NOMINAL = 480  # images of this many pixels have things of SIDES
SIDES = (6, 20)
MIN_VISIBLE = 0.6  # share of a thing that has to stay visible
MIN_STUFF = 150  # pixels of the smallest region that is annotated, at the nominal size
SHAPES = ((1, 1), (0.75, 4 / 3), (0.85, 1.2))  # height and width as multiples of the size


class Street:
    """A scene that grows from back to front.

    Attributes:
        image: RGB in [0, 1], H W 3.
        labels: Category ids, H W.
        horizon: Row of the horizon.
        vanishing: Column that the road runs to.
        unit: Pixels of the image for one of the nominal size.
    """

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        height, width = (round(size * factor) for factor in SHAPES[rng.integers(len(SHAPES))])
        self.y, self.x = np.mgrid[:height, :width].astype(np.float32)
        self.shape, self.unit = (height, width), size / NOMINAL
        self.horizon = height * rng.uniform(0.34, 0.46)
        self.vanishing = width * rng.uniform(0.3, 0.7)
        self.image = np.zeros((height, width, 3), np.float32)
        self.labels = np.zeros((height, width), np.int64)

    @property
    def depth(self) -> np.ndarray:
        """Depth of each pixel: 0 at the horizon and 1 at the lower border."""
        return np.clip((self.y - self.horizon) / (self.shape[0] - self.horizon), 0, 1)

    def lay(self, colour: np.ndarray, mask: np.ndarray, name: str) -> None:
        """Paint a region of stuff, with a border one pixel soft."""
        soft = cv2.GaussianBlur(np.float32(mask), (0, 0), 0.6)
        self.image = mix(self.image, colour, soft)
        self.labels[mask] = IDS[name]


def paint_sky(rng, street):
    zenith, horizon, cloud = vary(rng, (0.35, 0.52, 0.80), (0.78, 0.85, 0.92), (0.95, 0.95, 0.96))
    clouds = np.clip(2.4 * fractal_noise(rng, street.shape, (5, 2)) - rng.uniform(0.9, 1.7), 0, 1)
    sky = mix(zenith, horizon, np.clip(street.y / street.horizon, 0, 1))
    street.lay(mix(sky, cloud, clouds), np.ones(street.shape, bool), 'sky')


def paint_ground(rng, street):
    """Pavements to both sides of a road that narrows towards the horizon."""
    height, width = street.shape
    below, depth = street.y > street.horizon, street.depth
    tar, stone, mark = vary(rng, (0.27, 0.27, 0.29), (0.58, 0.55, 0.51), (0.85, 0.85, 0.82))
    # grain that grows with nearness, cracks and patches
    grain = fractal_noise(rng, street.shape, (60, 30), 3) - 0.5
    patches = fractal_noise(rng, street.shape, (5, 2), 3) - 0.5
    slabs = np.float32((np.log(depth + 0.02) * 9 % 1) < 0.12) * (depth > 0.03)
    texture = (0.9 + (0.25 + 0.3 * depth) * grain + 0.35 * patches)[..., None]
    street.lay(stone * (texture - 0.2 * slabs[..., None]), below, 'pavement')
    half = width * (0.015 + rng.uniform(0.36, 0.6) * depth)
    center = street.vanishing + (rng.uniform(0.4, 0.6) * width - street.vanishing) * depth
    across = (street.x - center) / half
    road = below & (abs(across) < 1)
    lane = (abs(across) < 0.02 + 0.015 * depth) & (np.log(depth + 0.05) * 5 % 1 < 0.55)
    kerb = (abs(across) > 0.96) & road
    surface = mix(mix(tar * texture, mark * texture, 0.8 * lane), stone, 0.5 * kerb)
    street.lay(surface, road, 'road')


def paint_building(rng, street, left, right, top, dirt):
    """A block with rows of windows, some lit, between two columns, down to the pavement."""
    base = street.horizon + 0.05 * street.shape[0] * rng.uniform(0.1, 1)
    block = (street.x >= left) & (street.x < right) & (street.y > top) & (street.y < base)
    tone = rng.choice(
        [(0.62, 0.52, 0.42), (0.55, 0.33, 0.27), (0.70, 0.68, 0.64), (0.42, 0.44, 0.48)]
    )
    wall, glass = vary(rng, tone, (0.22, 0.27, 0.34))
    rows, columns = rng.uniform(9, 16, 2) * street.unit
    v, u = (street.y - top) / rows % 1, (street.x - left) / columns % 1
    window = (abs(v - 0.55) < rng.uniform(0.2, 0.32)) & (abs(u - 0.5) < rng.uniform(0.2, 0.35))
    lit = rng.random((80, 120))[
        np.clip((street.y - top) / rows, 0, 79).astype(int),
        np.clip((street.x - left) / columns, 0, 119).astype(int),
    ]
    shade = rng.uniform(0.75, 1.1) * dirt[..., None]
    panes = mix(glass, (0.75, 0.78, 0.80), 0.7 * np.float32(lit > 0.6))
    street.lay(mix(wall, panes, np.float32(window) * 0.85) * shade, block, 'building')


def paint_buildings(rng, street):
    """Blocks on both sides, the higher the nearer to the border of the image."""
    width, left = street.shape[1], -rng.uniform(0, 30)
    dirt = 0.85 + 0.3 * fractal_noise(rng, street.shape, (6, 6), 4)
    while left < width:
        right = left + rng.uniform(35, 110) * street.unit
        nearness = abs((left + right) / 2 - street.vanishing) / width
        height = street.horizon * np.clip(rng.uniform(0.1, 0.45) + nearness, 0.1, 0.95)
        if rng.random() < 0.85:
            paint_building(rng, street, left, right, street.horizon - height, dirt)
        left = right


def paint_trees(rng, street):
    """Crowns with ragged outlines, along the horizon."""
    for _ in range(rng.integers(1, 5)):
        radius = rng.uniform(14, 42) * street.unit
        x = rng.uniform(0, street.shape[1])
        y = street.horizon - rng.uniform(-0.1, 0.7) * radius
        noise = fractal_noise(rng, street.shape, (14, 14), 4)
        distance = np.hypot(street.y - y, (street.x - x) * rng.uniform(0.8, 1.1)) / radius
        shade, leaf = vary(rng, (0.07, 0.16, 0.06), (0.32, 0.46, 0.17))
        street.lay(mix(shade, leaf, noise), distance + 0.9 * (noise - 0.5) < 1, 'vegetation')


def place_things(rng, street):
    """Things from the farthest to the nearest: name, sprite, row and column of its foot."""
    height, width = street.shape
    placed = []
    for _ in range(rng.integers(7, 20)):
        name = str(rng.choice(list(THINGS), p=[0.35, 0.4, 0.25]))
        depth = rng.uniform(0.06, 0.95)
        least, most = SIDES
        side = least + (most - least) * np.clip(depth * rng.uniform(0.75, 1.25), 0.05, 0.97)
        half = width * (0.02 + 0.5 * depth)
        on_road = rng.uniform(-0.75, 0.75)
        beside = rng.choice([-1, 1]) * rng.uniform(1.05, 1.4)
        across = on_road if name == 'car' or rng.random() < 0.2 else beside
        center = street.vanishing + (width / 2 - street.vanishing) * depth
        x = np.clip(center + across * half, 0.03 * width, 0.97 * width)
        y = street.horizon + depth * (height - street.horizon) * 0.97
        placed.append((y, x, name, side * street.unit))
    return sorted(placed)


def draw_street(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """One scene: image H W 3 uint8 RGB, segment ids H W int32 and COCO's list ``segments_info``.

    Things hidden too far to be learned are not drawn, and small scraps of stuff are void.
    """
    street = Street(rng, size)
    for paint in (paint_sky, paint_ground, paint_buildings, paint_trees):
        paint(rng, street)
    free = np.ones(street.shape, bool)
    kept = []
    for y, x, name, side in reversed(place_things(rng, street)):
        colour, opacity = place_sprite(THINGS[name][2](rng, side), y, x, street.shape)
        visible = (opacity > 0.5) & free
        area = visible.sum()
        if area >= max(MIN_VISIBLE * opacity.sum(), (SIDES[0] * street.unit) ** 2):
            free &= ~visible
            kept.insert(0, (name, colour, opacity, visible))
    for _, colour, opacity, _ in kept:
        street.image = cast_shadow(street, opacity)
        street.image = mix(street.image, colour, opacity)
    parts = [(k, 0, (street.labels == k) & free) for k in np.unique(street.labels).tolist()]
    least = MIN_STUFF * street.unit**2
    parts = [part for part in parts if part[2].sum() >= least]
    parts += [(IDS[name], 0, visible) for name, _, _, visible in kept]
    ids, segments_info = number_segments(rng, street.shape, parts)
    return photograph(rng, street.image), ids, segments_info


def place_sprite(sprite, y, x, shape):
    """A sprite h w 4 with its foot at a place, as colour H W 3 and opacity H W."""
    height, width = sprite.shape[:2]
    shift = np.float32([[1, 0, x - width / 2], [0, 1, y - height]])
    placed = cv2.warpAffine(sprite, shift, shape[::-1], flags=cv2.INTER_LINEAR)
    opacity = placed[..., 3]
    return placed[..., :3] / np.maximum(opacity, 1e-3)[..., None], opacity


def cast_shadow(street, opacity):
    """The image, darker around the foot of a thing."""
    foot = np.roll(opacity, (round(2 * street.unit), round(3 * street.unit)), (0, 1))
    soft = cv2.GaussianBlur(foot, (0, 0), 2.5 * street.unit)
    return street.image * (1 - 0.35 * soft[..., None])
