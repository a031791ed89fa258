"""Scenes to a dataset in COCO panoptic format, written whole or not at all.

OUT_DIR/{train,val}/*.jpg           images
OUT_DIR/panoptic_{train,val}/*.png  segment id = R + 256 G + 65536 B, 0 is void
OUT_DIR/panoptic_{train,val}.json   COCO panoptic format
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from .canvas import encode

SPLITS = ('train', 'val')
Draw = Callable | Mapping[str, Callable]


def number_segments(
    rng: np.random.Generator, shape: tuple[int, int], parts: Sequence
) -> tuple[np.ndarray, list[dict]]:
    """Segment ids H W int32, random below 2^24, and COCO's list ``segments_info``.

    Args:
        rng: Random numbers.
        shape: H, W.
        parts: Category id, crowd or not, and mask H W of each segment; no two share a pixel.
    """
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
    return ids, segments_info


def _write_scene(folder: Path, split: str, number: int, info: Mapping, draw: Draw):
    """Draw and write one scene; returns its entries for ``images`` and ``annotations``."""
    rng = np.random.default_rng([info['seed'], SPLITS.index(split), number])
    if isinstance(draw, Mapping):
        draw = draw[split]
    image, ids, segments_info = draw(rng, info['size'])
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


def _write_split(folder: Path, split: str, info: Mapping, draw: Draw, categories, workers: int):
    """Write images, id maps and the JSON of one split; returns the number of segments."""
    (folder / split).mkdir(parents=True)
    (folder / f'panoptic_{split}').mkdir()
    with ThreadPoolExecutor(workers) as pool:
        entries = list(
            pool.map(
                lambda number: _write_scene(folder, split, number, info, draw),
                range(1, info[split] + 1),
            )
        )
    images, annotations = zip(*entries)
    panoptic = {
        'info': info,
        'images': images,
        'annotations': annotations,
        'categories': categories,
    }
    (folder / f'panoptic_{split}.json').write_text(json.dumps(panoptic))
    return sum(len(annotation['segments_info']) for annotation in annotations)


def _holds(folder: Path, info: Mapping) -> bool:
    """Whether a folder is a dataset that was made with the parameters ``info``."""
    try:
        found = [
            json.loads((folder / f'panoptic_{split}.json').read_text())['info'] for split in SPLITS
        ]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return found == [info] * len(SPLITS)


def write_set(out_dir, info: Mapping, draw: Draw, categories: Sequence, workers: int) -> None:
    """Write a dataset to ``out_dir``, all of it or nothing, and print one line with counts.

    Args:
        out_dir: Folder to create. One that holds the same dataset already is left as it is.
        info: Parameters of the dataset: ``train`` and ``val`` images, ``size`` in pixels, ``seed``.
        draw: Function of a random generator and a size that returns an image H W 3 uint8 RGB,
            segment ids H W and ``segments_info``; or one for each of ``SPLITS``.
        categories: Categories of the JSON.
        workers: Number of threads, which does not change the files.

    Raises:
        FileExistsError: If ``out_dir`` has other content.
    """
    out_dir = Path(out_dir).resolve()
    if _holds(out_dir, info):
        print(
            f'{out_dir} already holds this set: {info["train"]} train and {info["val"]} val images'
        )
        return
    if out_dir.is_file() or out_dir.is_dir() and any(out_dir.iterdir()):
        raise FileExistsError(
            f'{out_dir} exists and is not the set asked for: delete it or choose another folder'
        )
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f'.{out_dir.name}-') as temporary:
        folder = Path(temporary) / 'set'
        segments = sum(
            _write_split(folder, split, info, draw, categories, workers) for split in SPLITS
        )
        folder.replace(out_dir)
    print(f'{out_dir}: {info["train"]} train and {info["val"]} val images with {segments} segments')
