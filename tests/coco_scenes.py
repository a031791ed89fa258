"""Small scenes in COCO format for tests of labels: two images, each with a cat and a dog."""

import json

import numpy as np
from mmdet.registry import DATASETS
from PIL import Image

HEIGHT, WIDTH = 40, 60
NAMES = dict(classes=('cat', 'dog'), thing_classes=('cat', 'dog'))
ALL = dict(classes=('cat', 'dog', 'grass'), thing_classes=('cat', 'dog'))
BOXES = ((2, 4, 22, 20), (30, 10, 50, 36))  # left, top, right, bottom of a cat and a dog
LOAD = [dict(type='LoadPhoto'), dict(type='LoadSegmentMap'), dict(type='PackSegmentInputs')]


def polygon(box):
    """The outline of a box, [x1, y1, x2, y2, ...]."""
    left, top, right, bottom = box
    return [left, top, right, top, right, bottom, left, bottom]


def map_of_boxes():
    """The segment map of an image: 1 is its cat, 2 its dog."""
    expected = np.zeros((HEIGHT, WIDTH), int)
    for number, (left, top, right, bottom) in enumerate(BOXES, 1):
        expected[top:bottom, left:right] = number
    return expected


def write_images(folder, names):
    """Grey images."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (WIDTH, HEIGHT), (90, 120, 30)).save(folder / name)


def instances(change=lambda content: None):
    """A COCO instance file of the two images, changed in place by a function."""
    images = [dict(id=i, file_name=f'{i}.jpg', height=HEIGHT, width=WIDTH) for i in (1, 2)]
    annotations = [
        dict(id=2 * i + k, image_id=i, category_id=k, iscrowd=0, segmentation=[polygon(box)])
        for i in (1, 2)
        for k, box in enumerate(BOXES, 1)
    ]
    for annotation in annotations:
        left, top, right, bottom = BOXES[annotation['category_id'] - 1]
        annotation['area'] = (right - left) * (bottom - top)
    categories = [dict(id=k, name=name) for k, name in enumerate(NAMES['classes'], 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    change(content)
    return content


def panoptic(change=lambda content: None):
    """A COCO panoptic file of the two images: cat 7, dog 300, and grass 70000 elsewhere."""
    ids = ((7, 1), (300, 2), (70000, 3))
    annotations = [
        dict(
            image_id=i,
            file_name=f'{i}.png',
            segments_info=[dict(id=number, category_id=k, iscrowd=0) for number, k in ids],
        )
        for i in (1, 2)
    ]
    categories = [dict(id=k, name=n, isthing=int(k < 3)) for k, n in enumerate(ALL['classes'], 1)]
    content = dict(instances(), annotations=annotations, categories=categories)
    change(content)
    return content


def write_panoptic_pngs(folder, names=('1.png', '2.png')):
    """The PNGs of ``panoptic``."""
    ids = np.array([70000, 7, 300])[map_of_boxes()]
    colors = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(colors).save(folder / name)


def each(key, change, where='annotations'):
    """A change of all values of a key; a segment's in a panoptic file if it has no such key."""

    def apply(content):
        for entry in content[where]:
            if key in entry:
                entry[key] = change(entry[key])
            for segment in entry.get('segments_info', ()):
                if key in segment:
                    segment[key] = change(segment[key])

    return apply


def config(folder, kind='instance', **kwargs):
    """The config of a dataset whose JSON is a.json, with images in img and PNGs in seg."""
    plain = dict(
        type=f'{kind.title()}Dataset',
        metainfo=NAMES if kind == 'instance' else ALL,
        data_root=str(folder),
        ann_file='a.json',
        data_prefix=dict(img='img') if kind == 'instance' else dict(img='img', seg='seg'),
        pipeline=LOAD,
    )
    return {**plain, **kwargs}


def build(folder, content=None, kind='instance', **kwargs):
    """A dataset; ``content`` is written to its JSON."""
    if content is not None:
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        (folder / 'a.json').write_bytes(content)
    return DATASETS.build(config(folder, kind, **kwargs))


def map_of(dataset, index=0):
    """The segment map that a sample is trained on."""
    return dataset[index]['data_samples'].gt_panoptic_seg.sem_seg[0].numpy()
