"""What tests of label formats share: images, an independent rasteriser, and reading of all."""

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

HEIGHT, WIDTH = 96, 128


def write_image(path, height=HEIGHT, width=WIDTH, **options):
    """An image of noise, which differs from path to path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = list(path.name.encode())
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def fill(*rings, height=HEIGHT, width=WIDTH):
    """Mask (H, W) of the pixels whose centres lie in the rings by the even-odd rule."""
    y, x = np.mgrid[:height, :width] + 0.5
    inside = np.zeros((height, width), bool)
    for ring in rings:
        for (ax, ay), (bx, by) in zip(ring, [*ring[1:], ring[0]]):
            crosses = (ay > y) != (by > y)
            with np.errstate(divide='ignore', invalid='ignore'):
                inside ^= crosses & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return inside


def rectangle(left, top, right, bottom, height=HEIGHT, width=WIDTH):
    """Mask (H, W) of a rectangle; right and bottom do not belong to it."""
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


def corners_of(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def star(x, y, radius, points=6):
    """A ring with corners in and out."""
    angles = np.arange(2 * points) * np.pi / points
    radii = radius * np.where(np.arange(2 * points) % 2, 0.75, 1)
    return [(float(x + r * np.cos(a)), float(y + r * np.sin(a))) for r, a in zip(radii, angles)]


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def find(source):
    """Images by name; there must be no problems."""
    images, problems = source.find()
    assert problems == []
    assert len({image.name for image in images}) == len(images)
    for image in images:
        assert (source.image_folder / image.name).samefile(image.path)
    return {image.name: image for image in images}


def problems_of(source):
    images, problems = source.find()
    assert problems, f'no problem, but {[image.name for image in images]}'
    return '\n'.join(problems)


def read(source):
    """What is annotated, by the name of the image."""
    return {name: source.read(image) for name, image in find(source).items()}


def objects(annotated):
    """(category, mask) of each region, in its order."""
    size = annotated.height, annotated.width
    return [
        (region.category, mask_utils.decode(region.encoded(*size)).astype(bool))
        for region in annotated.regions
    ]


def same(annotated, expected):
    """Whether regions are exactly the expected (category, mask), in this order."""
    found = objects(annotated)
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (name, mask), (_, wanted) in zip(found, expected):
        assert mask.shape == wanted.shape, name
        assert np.array_equal(mask, wanted), name


def near(annotated, expected, least=0.98):
    """Whether regions are the expected ones but for few pixels at their edges."""
    found = objects(annotated)
    assert [name for name, _ in found] == [name for name, _ in expected]
    for (name, mask), (_, wanted) in zip(found, expected):
        assert iou(mask, wanted) >= least, (name, iou(mask, wanted))


def kinds(annotated):
    """How often each kind of thing was left out."""
    names = [loss.kind for loss in annotated.losses]
    return {name: names.count(name) for name in names}
