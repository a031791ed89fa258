"""Draw images with panoptic segments, and write them in COCO panoptic format.

Stuff are cells with winding borders, things are blobs of many sizes on top of it, one of them a
crowd, and a few cells are void. Classes are COCO's, with things before stuff and one segment per
stuff class, since mmdet asks for both.

Legend: H, W image size, S segments; maps of segments hold 0 for void and k for segment k - 1.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from oneformer.host.safe_io import write_json
from oneformer.metainfo import KNOWN_DATASETS
from oneformer.run_length import encode_ids as encode_segments
from oneformer.run_length import json_code

from .panopticapi_parts import rgb2id

COCO = KNOWN_DATASETS['coco']
CLASSES = COCO['classes']
NUM_THINGS = len(COCO['thing_classes'])
NUM_STUFF = len(CLASSES) - NUM_THINGS
VOID_CELLS = 2


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cell: float, channels: int = 1
) -> np.ndarray:
    """Noise in [-1, 1] of shape (H, W, channels) that varies over ``cell`` pixels, float32."""
    grid = rng.uniform(-1, 1, (int(height / cell) + 2, int(width / cell) + 2, channels))
    noise = cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return noise.reshape(height, width, channels)


def warp(rng: np.random.Generator, segment_map: np.ndarray, amount: float) -> np.ndarray:
    """Move borders by up to ``amount`` pixels."""
    height, width = segment_map.shape
    shift = amount * smooth_noise(rng, height, width, 4 * amount + 8, channels=2)
    x = np.arange(width, dtype=np.float32) + shift[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + shift[..., 1]
    return cv2.remap(segment_map, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def draw_cells(rng: np.random.Generator, height: int, width: int, count: int) -> np.ndarray:
    """A Voronoi diagram with winding borders; int32 map with values in [1, count]."""
    seeds = np.full((height, width), 255, np.uint8)
    seeds.flat[rng.choice(height * width, count, replace=False)] = 0
    _, cells = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    return warp(rng, cells.astype(np.float32), 0.02 * height).astype(np.int32)


def draw_blob(rng: np.random.Generator, canvas: np.ndarray, size: float, value: int) -> None:
    """Paint a star-shaped region of about ``size`` pixels across into ``canvas``."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    bumps = sum(rng.uniform(0, 0.15) * np.sin(k * angle + rng.uniform(0, 6)) for k in (2, 3, 5))
    center = rng.uniform(0, canvas.shape[::-1])
    radius = size / 2 * (1 + bumps[:, None])
    points = center + radius * np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.7, 1.3)
    cv2.fillPoly(canvas, [np.round(points).astype(np.int32)], value)


def draw_segments(
    rng: np.random.Generator, height: int, width: int, num_segments: int
) -> tuple[np.ndarray, list[dict]]:
    """Draw until each segment is visible.

    Returns:
        The map (H, W), int32, and S dicts with ``label`` and ``iscrowd``.

    Raises:
        ValueError: If so many segments do not fit.
    """
    num_stuff = min(num_segments // 3, NUM_STUFF)
    num_things = num_segments - num_stuff
    labels = np.concatenate(
        [
            NUM_THINGS + rng.choice(NUM_STUFF, num_stuff, replace=False),
            rng.integers(NUM_THINGS, size=num_things),
        ]
    )
    for _ in range(20):
        segment_map = draw_cells(rng, height, width, num_stuff + VOID_CELLS)
        segment_map[segment_map > num_stuff] = 0
        sizes = np.sqrt(height * width / (num_things + 1)) * rng.uniform(0.2, 1, num_things)
        for k, size in enumerate(sorted(sizes, reverse=True), start=num_stuff + 1):
            draw_blob(rng, segment_map, size, k)  # small ones last, or large ones hide them
        if np.bincount(segment_map.ravel(), minlength=num_segments + 1)[1:].all():
            segments = [dict(label=int(label), iscrowd=False) for label in labels]
            segments[num_stuff]['iscrowd'] = True  # the largest
            return segment_map, segments
    raise ValueError(f'{num_segments} segments do not fit into {height} x {width} pixels')


def draw_image(rng: np.random.Generator, segment_map: np.ndarray) -> np.ndarray:
    """Shaded, slightly textured colours, one per segment; BGR, uint8 of shape (H, W, 3)."""
    height, width = segment_map.shape
    colours = rng.uniform(40, 215, (segment_map.max() + 1, 3)).astype(np.float32)
    image = cv2.GaussianBlur(colours[segment_map], (0, 0), 1)
    for cell, strength in ((height / 3, 25), (height / 20, 12), (4, 6)):
        image += strength * smooth_noise(rng, height, width, cell)
    return np.clip(image, 0, 255).astype(np.uint8)


def encode_ids(segment_map: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """The panoptic PNG as OpenCV writes it, blue first: id = R + 256 G + 65536 B."""
    table = np.array([0, *ids])
    return np.stack([table >> 16, table >> 8 & 255, table & 255], 1).astype(np.uint8)[segment_map]


def write_set(
    folder: Path, scenes: Sequence[tuple[np.ndarray, list[dict]]], images: Sequence[np.ndarray]
) -> None:
    """Write ``img/*.jpg``, ``seg/*.png`` and ``panoptic.json``.

    Args:
        folder: Folder, which must exist.
        scenes: Results of ``draw_segments``; the segments get ids of three bytes, as COCO's.
        images: Images, one per scene, or none: then the JSON names files that do not exist.
    """
    rng = np.random.default_rng(0)
    (folder / 'img').mkdir()
    (folder / 'seg').mkdir()
    content = dict(
        images=[],
        annotations=[],
        categories=[
            dict(id=label + 1, name=name, isthing=int(label < NUM_THINGS))
            for label, name in enumerate(CLASSES)
        ],
    )
    for number, (segment_map, segments) in enumerate(scenes):
        ids = (1 + rng.choice((1 << 24) - 1, len(segments), replace=False)).tolist()
        cv2.imwrite(str(folder / 'seg' / f'{number}.png'), encode_ids(segment_map, ids))
        height, width = segment_map.shape
        content['images'].append(
            dict(id=number, file_name=f'{number}.jpg', height=height, width=width)
        )
        infos = []
        for k, (identity, segment) in enumerate(zip(ids, segments), start=1):
            x, y, w, h = cv2.boundingRect((segment_map == k).astype(np.uint8))
            infos.append(
                dict(
                    id=identity,
                    category_id=segment['label'] + 1,
                    iscrowd=int(segment['iscrowd']),
                    bbox=[x, y, w, h],
                    area=int((segment_map == k).sum()),
                )
            )
        content['annotations'].append(
            dict(image_id=number, file_name=f'{number}.png', segments_info=infos)
        )
    for number, image in enumerate(images):
        cv2.imwrite(str(folder / 'img' / f'{number}.jpg'), image)
    write_json(folder / 'panoptic.json', content)


def write_instances(panoptic: Path, segment_maps: Path, file: Path) -> None:
    """Write things of a set as COCO's instance annotation, with run lengths."""
    content = json.loads(panoptic.read_text())
    annotations = []
    for annotation in content['annotations']:
        ids = rgb2id(cv2.imread(str(segment_maps / annotation['file_name']))[..., ::-1])
        things = [s for s in annotation['segments_info'] if s['category_id'] <= NUM_THINGS]
        numbers = np.zeros(ids.shape, np.int32)
        for k, segment in enumerate(things, start=1):
            numbers[ids == segment['id']] = k
        codes = encode_segments(numbers, range(1, len(things) + 1))
        for segment, code in zip(things, codes):
            number, image_id = len(annotations) + 1, annotation['image_id']
            code = json_code(code)
            annotations.append(dict(segment, id=number, image_id=image_id, segmentation=code))
    categories = content['categories'][:NUM_THINGS]
    write_json(file, dict(content, annotations=annotations, categories=categories))
