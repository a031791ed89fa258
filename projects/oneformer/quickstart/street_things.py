"""Cars, pedestrians and poles, as sprites of premultiplied colour and opacity.

A painter takes the random generator and a side, the root of the area that the thing is to have in
pixels, and makes a float32 array h w 4. Sprites are drawn ``FINE`` times as large.
"""

import cv2
import numpy as np

from .canvas import vary

FINE = 8
CLOTHES = ((0.75, 0.12, 0.12), (0.12, 0.2, 0.5), (0.85, 0.8, 0.2), (0.1, 0.1, 0.11))
CLOTHES += ((0.9, 0.9, 0.9), (0.15, 0.45, 0.2), (0.9, 0.45, 0.1), (0.35, 0.2, 0.45))
SKIN = ((0.9, 0.72, 0.6), (0.6, 0.42, 0.3), (0.32, 0.2, 0.14))
PAINT = ((0.8, 0.1, 0.1), (0.92, 0.92, 0.92), (0.08, 0.08, 0.1), (0.1, 0.25, 0.6))
PAINT += ((0.7, 0.72, 0.75), (0.95, 0.75, 0.1), (0.2, 0.4, 0.25))


class _Sprite:
    """A drawing surface of (height, width) units, ``scale`` fine pixels each."""

    def __init__(self, height: float, width: float, scale: float) -> None:
        self.scale = scale
        shape = [FINE * int(np.ceil(side * scale / FINE) + 2) for side in (height, width)]
        self.origin = np.array([(shape[1] - width * scale) / 2, shape[0] - height * scale - FINE])
        self.canvas = np.zeros((*shape, 4), np.float32)

    def polygon(self, points, colour) -> None:
        """Fill a polygon of (x, y) in units."""
        points = np.array(points) * self.scale + self.origin
        cv2.fillPoly(self.canvas, [np.int32(points.round())], (*map(float, colour), 1.0))

    def ellipse(self, x, y, rx, ry, colour) -> None:
        center = np.int32((np.array([x, y]) * self.scale + self.origin).round())
        axes = np.int32(np.maximum(np.array([rx, ry]) * self.scale, 1).round())
        cv2.ellipse(
            self.canvas, center.tolist(), axes.tolist(), 0, 0, 360, (*map(float, colour), 1.0), -1
        )

    def box(self, x0, y0, x1, y1, colour) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def shrunk(self) -> np.ndarray:
        """The sprite at its true size, with soft borders, shaded from above."""
        height, width = (side // FINE for side in self.canvas.shape[:2])
        sprite = cv2.resize(self.canvas, (width, height), interpolation=cv2.INTER_AREA)
        sprite[..., :3] *= np.linspace(1.08, 0.88, height, dtype=np.float32)[:, None, None]
        return sprite


def _drawn(draw, height: float, width: float, side: float) -> np.ndarray:
    """Sprite of the painter ``draw``, at the scale that gives it the area of side * side."""
    trial = _Sprite(height, width, 100.0)
    draw(trial)
    area = (trial.canvas[..., 3] > 0).sum() / trial.scale**2
    sprite = _Sprite(height, width, FINE * side / np.sqrt(area))
    draw(sprite)
    return sprite.shrunk()


def draw_pedestrian(rng, side):
    """Head, body, legs apart or together, arms, sometimes a bag; colours of skin and clothes."""
    skin, top, legs, bag, hair = vary(
        rng,
        SKIN[rng.integers(3)],
        CLOTHES[rng.integers(8)],
        CLOTHES[rng.integers(8)],
        CLOTHES[rng.integers(8)],
        (0.15, 0.1, 0.08),
        amount=0.05,
    )
    stride, lean, girth = rng.uniform(0.02, 0.16), rng.uniform(-0.04, 0.04), rng.uniform(0.11, 0.16)
    has_bag, coat = rng.random() < 0.3, rng.uniform(0.45, 0.66)

    def draw(s):
        for foot in (-stride, stride):
            s.polygon([(0.16, 0.5), (0.24, 0.5), (0.24 + foot, 1), (0.13 + foot, 1)], legs * 0.9)
        left, right = 0.2 - girth, 0.2 + girth
        s.polygon(
            [(left + lean, 0.17), (right + lean, 0.17), (right - 0.01, coat), (left + 0.01, coat)],
            top,
        )
        if has_bag:
            s.box(right - 0.03, 0.35, right + 0.1, 0.55, bag)
        s.ellipse(0.2 + 1.3 * lean, 0.09, 0.075, 0.09, skin)
        s.ellipse(0.2 + 1.3 * lean, 0.05, 0.075, 0.05, hair)

    return _drawn(draw, 1, 0.4, side)


def draw_car(rng, side):
    """Side view (to the left or right) or rear view: body, cabin, windows, wheels, lights."""
    paint, glass, tyre, light = vary(
        rng,
        PAINT[rng.integers(7)],
        (0.16, 0.2, 0.25),
        (0.06, 0.06, 0.06),
        (0.9, 0.25, 0.15) if rng.random() < 0.6 else (0.95, 0.95, 0.8),
        amount=0.04,
    )
    if rng.random() < 0.5:
        front, back, roof = rng.uniform(0.2, 0.35), rng.uniform(0.03, 0.2), rng.uniform(0.0, 0.08)

        def draw(s):
            s.polygon(
                [(front, 0.2), (front + 0.14, roof), (0.9 - back, roof), (1 - back, 0.2)], paint
            )
            s.polygon(
                [(front + 0.05, 0.2), (front + 0.16, roof + 0.04), (0.88 - back, roof + 0.04),
                 (0.94 - back, 0.2)],
                glass,
            )  # fmt: skip
            s.polygon([(0.02, 0.2), (0.98, 0.2), (1, 0.26), (1, 0.4), (0, 0.4), (0, 0.26)], paint)
            s.box(0, 0.25, 0.04, 0.3, light)
            for x in (0.2, 0.8):
                s.ellipse(x, 0.4, 0.09, 0.09, tyre)

        sprite = _drawn(draw, 0.5, 1, side)
        return sprite[:, ::-1].copy() if rng.random() < 0.5 else sprite
    tall = rng.uniform(0.0, 0.2)

    def draw_rear(s):
        s.polygon([(0.12, 0.35), (0.22, 0.2 - tall), (0.78, 0.2 - tall), (0.88, 0.35)], paint * 0.9)
        s.polygon([(0.2, 0.35), (0.27, 0.25 - tall), (0.73, 0.25 - tall), (0.8, 0.35)], glass)
        s.box(0.05, 0.33, 0.95, 0.68, paint)
        for x in (0.06, 0.78):
            s.box(x, 0.4, x + 0.16, 0.48, light)
        s.box(0.38, 0.5, 0.62, 0.58, (0.85, 0.85, 0.8))
        for x in (0.1, 0.72):
            s.box(x, 0.68, x + 0.18, 0.78, tyre)

    return _drawn(draw_rear, 0.8, 1, side)


def draw_pole(rng, side):
    """A post with a sign, a lamp or a traffic light on top."""
    post, sign, edge = vary(
        rng,
        (0.2, 0.21, 0.22) if rng.random() < 0.6 else (0.55, 0.56, 0.58),
        PAINT[rng.integers(7)],
        (0.9, 0.9, 0.9),
        amount=0.04,
    )
    kind, half = rng.integers(4), rng.uniform(0.035, 0.055)

    def draw(s):
        s.box(0.2 - half, 0.05, 0.2 + half, 1, post)
        if kind == 0:
            s.ellipse(0.2, 0.13, 0.15, 0.13, edge)
            s.ellipse(0.2, 0.13, 0.11, 0.1, sign)
        elif kind == 1:
            s.polygon([(0.2, 0), (0.37, 0.26), (0.03, 0.26)], sign)
        elif kind == 2:
            s.box(0.1, 0.0, 0.3, 0.3, (0.12, 0.12, 0.1))
            for y, colour in zip((0.06, 0.15, 0.24), ((0.9, 0.1, 0.1), (0.9, 0.7, 0.1), sign)):
                s.ellipse(0.2, y, 0.05, 0.04, colour)
        else:
            s.box(0.05, 0.02, 0.37, 0.2, sign)
            s.box(0.09, 0.07, 0.33, 0.1, edge)

    return _drawn(draw, 1, 0.4, side)


# Name -> supercategory, colour, painter.
THINGS = {
    'car': ('vehicle', [0, 0, 142], draw_car),
    'pedestrian': ('person', [220, 20, 60], draw_pedestrian),
    'pole': ('object', [250, 170, 30], draw_pole),
}
