"""Sets as the tools of others write them: two images with a cat, a dog, grass and sky."""

import json

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from oneformer.annotation_formats.formats import FORMATS
from oneformer.run_length import decode_mask

HEIGHT, WIDTH = 40, 60
NAMES = ('sky', 'grass', 'cat', 'dog')
NUMBERS = {name: number for number, name in enumerate(NAMES)}
COLORS = dict(sky=(70, 130, 180), grass=(0, 200, 0), cat=(220, 20, 60), dog=(0, 0, 142))


def scene(seed=0):
    """Map of names, and the number, from 1, of the object that a pixel belongs to (0: none)."""
    names = np.full((HEIGHT, WIDTH), 'grass', object)
    objects = np.zeros((HEIGHT, WIDTH), int)
    names[:12] = 'sky'
    names[14 + seed : 30, 5:20], objects[14 + seed : 30, 5:20] = 'cat', 1
    names[20:38, 30:44], objects[20:38, 30:44] = 'dog', 2
    names[2:6, 50:55], objects[2:6, 50:55] = 'cat', 3
    return names, objects


def write_image(path, seed=0, **options):
    """An image in which each class has its colour."""
    names, _ = scene(seed)
    pixels = np.array([[COLORS[name] for name in row] for row in names], np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_png(path, values, **options):
    """Write numbers or colours; ``palette`` makes it a palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, np.uint8))
    if 'palette' in options:
        image.putpalette(options['palette'])
    image.save(path)


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def outline(box):
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


def code_of(mask):
    code = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=list(code['size']), counts=code['counts'].decode())


def source_of(name, path, **options):
    return FORMATS[name](path, **options)


def read_all(source):
    """The images of a source that is right, and what it reads of each, by name."""
    images, problems = source.find()
    assert not problems, problems
    return {image.name: source.read(image) for image in images}


def problems_of(source):
    _, problems = source.find()
    return '\n'.join(problems)


def objects_of(annotated):
    """(class, crowd, mask) of the regions, in their order."""
    size = annotated.height, annotated.width
    return [(r.category, r.crowd, decode_mask(r.encoded(*size))) for r in annotated.regions]


def class_map(annotated):
    """Names of the classes at each pixel, '' where nothing is."""
    names = np.full((annotated.height, annotated.width), '', object)
    ordered = sorted(annotated.regions, key=lambda region: region.order)
    for region in ordered:
        names[decode_mask(region.encoded(annotated.height, annotated.width))] = region.category
    return names
