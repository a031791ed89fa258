"""Common painting code of all scenes: noise, blending, light, and the camera.

Colours are RGB in [0, 1].
"""

import cv2
import numpy as np


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


def shade(albedo, distance, rim, light, radius):
    """Lambert shading and a highlight for a surface that is flat but for a round rim."""
    inwards = 1 - np.clip(-distance / rim, 0, 1)
    slope_y, slope_x = np.gradient(rim * radius * np.sqrt(1 - inwards**2))
    facing = light[2] - slope_x * light[0] - slope_y * light[1]
    facing = np.clip(facing / np.sqrt(1 + slope_x**2 + slope_y**2), 0, 1)
    return mix(albedo * (0.45 + 0.7 * facing[..., None]), (1, 1, 1), 0.5 * facing**40)


def photograph(rng, image):
    """Effects of a camera on a scene: uneven light, a colour cast, slight blur, noise; uint8."""
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    slope_y, slope_x, vignette = rng.uniform((-0.2, -0.2, 0), (0.2, 0.2, 0.12))
    gain = rng.uniform(0.85, 1.1) * (1 + slope_y * y + slope_x * x - vignette * (y**2 + x**2))
    image = image * gain[..., None] * rng.uniform(0.94, 1.06, 3)
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.8))
    image += rng.normal(0, rng.uniform(0.008, 0.03), image.shape)
    return np.uint8(255 * np.clip(image, 0, 1))


def encode(suffix, image, *flags):
    """The bytes of an image file, from RGB."""
    return cv2.imencode(suffix, image[..., ::-1], flags)[1].tobytes()
