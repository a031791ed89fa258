"""Folders of images and label images for tests: a cat and a dog before a background."""

import io
import struct
import zlib

import numpy as np
from mmdet.registry import DATASETS
from mmengine.config import Config
from PIL import Image

from oneformer.inspection.checking import check_config

HEIGHT, WIDTH = 24, 36
CLASSES = ('background', 'cat', 'dog')
METAINFO = dict(classes=CLASSES, thing_classes=('cat', 'dog'))
CAT, DOG = np.s_[4:14, 3:13], np.s_[9:21, 18:31]
LOAD = [dict(type='LoadPhoto'), dict(type='LoadSegmentMap')]


def label_map(background=0, cat=1, dog=2, dtype=np.uint8):
    """Values of a label image."""
    values = np.full((HEIGHT, WIDTH), background, dtype)
    values[CAT], values[DOG] = cat, dog
    return values


NAMES = np.array(CLASSES)[label_map()]


def encode(array, kind='PNG', palette=None, **options):
    """Bytes of an image file, whatever its name."""
    file = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    if palette is not None:
        image.putpalette(palette)
    image.save(file, kind, **options)
    return file.getvalue()


def raw_png(values, bits, colour=0):
    """A grey PNG that stores ``values`` in a few bits each, or in 16."""

    def chunk(name, data):
        checksum = struct.pack('>I', zlib.crc32(name + data))
        return struct.pack('>I', len(data)) + name + data + checksum

    height, width = values.shape[:2]
    rows = values.reshape(height, -1).astype('>u2')
    if bits == 16:
        rows = [row.tobytes() for row in rows]
    else:
        shifts = np.arange(bits)[::-1]
        digits = (rows[..., None] >> shifts & 1).reshape(height, -1).astype(np.uint8)
        rows = [np.packbits(row).tobytes() for row in digits]
    header = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    data = zlib.compress(b''.join(b'\0' + row for row in rows))
    chunks = chunk(b'IHDR', header) + chunk(b'IDAT', data) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunks


def write(path, content):
    """Write an array as an image, or bytes as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else encode(content))


def image(seed=0):
    """Noise with a colour for each class."""
    colors = np.array([(90, 90, 90), (220, 60, 30), (30, 80, 220)])[label_map()]
    noise = np.random.default_rng(seed).integers(-9, 9, colors.shape)
    return (colors + noise).astype(np.uint8)


def write_labels(folder, *labels, suffix='.png'):
    """Images 0.jpg, 1.jpg, ... and a label image for each."""
    for number, label in enumerate(labels):
        write(folder / f'img/{number}.jpg', encode(image(number), 'JPEG'))
        write(folder / f'seg/{number}{suffix}', label)


def config_of(folder, **options):
    config = dict(
        type='SemanticDataset',
        metainfo=METAINFO,
        data_root=str(folder),
        data_prefix=dict(img='img', seg='seg'),
        pipeline=LOAD,
    )
    return {**config, **options}


def build(folder, **options):
    return DATASETS.build(config_of(folder, **options))


def named(sample):
    """The map of a sample as class names, '' for void."""
    names = np.array(['', *(segment['category'] for segment in sample['segments_info'])])
    return names[sample['gt_seg_map']]


def check(folder, **options):
    """Findings of the checker: severity, kind and message."""
    cfg = Config(dict(train_dataloader=dict(dataset=config_of(folder, **options))))
    findings = check_config(cfg, ['train'])['train'].findings
    return [(finding.severity, finding.kind, finding.message) for finding in findings]
