"""Sets of images with objects that overlap, for several tests."""

import json

import numpy as np
from mmdet.registry import DATASETS
from PIL import Image
from pycocotools import mask as mask_utils

METAINFO = dict(classes=('sky', 'cell', 'nucleus'), thing_classes=('cell', 'nucleus'))
CELL, NUCLEUS = 1, 2  # category ids
HEIGHT, WIDTH = 48, 64


def box(left, top, right, bottom):
    """A mask."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def polygon(left, top, right, bottom):
    """The same as a segmentation."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def code(mask, compressed=True):
    """A mask as run-length code."""
    if compressed:
        encoded = mask_utils.encode(np.asfortranarray(mask, np.uint8))
        return dict(size=list(mask.shape), counts=encoded['counts'].decode())
    flat = mask.flatten(order='F')
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return dict(size=list(mask.shape), counts=[0, *counts] if flat[0] else counts)


def entry(segmentation, category_id=CELL, **others):
    """An annotation, of the first image unless it says otherwise."""
    return dict(
        dict(image_id=1, category_id=category_id, iscrowd=0, segmentation=segmentation), **others
    )


# an object inside another, as everywhere in r24
NESTED = [entry(polygon(10, 6, 54, 42)), entry(polygon(26, 16, 42, 32), NUCLEUS)]
SCENES = dict(
    nested=NESTED,
    three_nested=[*NESTED, entry(polygon(30, 20, 36, 28), NUCLEUS)],
    partial=[entry(code(box(4, 4, 30, 30))), entry(code(box(20, 20, 50, 40), False), NUCLEUS)],
    one_class=[entry(polygon(4, 4, 30, 30)), entry(polygon(20, 10, 50, 40))],
    equal=[entry(code(box(4, 4, 30, 30))), entry(code(box(4, 4, 30, 30)))],
    chain=[entry(code(box(4 + 12 * k, 8, 24 + 12 * k, 36))) for k in range(4)],
    over_a_crowd=[*NESTED, entry(code(box(0, 0, 40, 48)), iscrowd=1)],
    covered_by_two=[
        entry(polygon(10, 10, 30, 30)),
        entry(polygon(10, 10, 20, 31), NUCLEUS),
        entry(polygon(20, 10, 30, 31), NUCLEUS),
        entry(polygon(40, 4, 60, 20)),  # alone
    ],
)


def write_set(folder, annotations, images=2, name='train.json'):
    """Images 1, 2, ... and a JSON of annotations, whose ids are their positions from 1."""
    (folder / 'train').mkdir(parents=True, exist_ok=True)
    for number in range(1, images + 1):
        colors = np.random.default_rng(number).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(colors).save(folder / f'train/{number}.png')
    size = dict(height=HEIGHT, width=WIDTH)
    content = dict(
        images=[dict(size, id=i, file_name=f'{i}.png') for i in range(1, images + 1)],
        annotations=[dict(id=i, **fields) for i, fields in enumerate(annotations, 1)],
        categories=[dict(id=CELL, name='cell'), dict(id=NUCLEUS, name='nucleus')],
    )
    (folder / name).write_text(json.dumps(content))
    return folder


def load_steps(*steps, teach=True):
    """A pipeline with these transforms in the middle."""
    ends = [dict(type='SampleTask', probs=dict(instance=1))] * teach
    load = [dict(type='LoadPhoto'), dict(type='LoadSegmentMap')]
    return [*load, *steps, *ends, dict(type='PackSegmentInputs')]


def config_of(folder, **options):
    """Config of the set."""
    config = dict(
        type='InstanceDataset',
        metainfo=METAINFO,
        data_root=f'{folder}/',
        ann_file='train.json',
        data_prefix=dict(img='train/'),
        pipeline=load_steps(),
    )
    return {**config, **options}


def build(folder, **options):
    """The set."""
    return DATASETS.build(config_of(folder, **options))
