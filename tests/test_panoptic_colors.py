"""Panoptic PNGs whose ids are not those of the JSON: the message tells what they look like."""

import json

import numpy as np
import pytest
from label_scenes import CAT, DOG, HEIGHT, LOAD, WIDTH, encode, image, label_map, write
from mmdet.registry import DATASETS
from mmengine.config import Config

from oneformer.inspection.checking import check_config

CLASSES = ('grass', 'cat', 'dog')
IDS = dict(grass=70000, cat=1001, dog=300)
CATEGORIES = dict(grass=11, cat=12, dog=13)


def rgb(ids):
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)


def ids_of(table=IDS):
    return label_map(table['grass'], table['cat'], table['dog'], np.int64)


def write_set(folder, *pngs, ids=(IDS,)):
    """A panoptic set; each image has ids of its own or the last."""
    content = dict(images=[], annotations=[])
    for number, png in enumerate(pngs):
        table = ids[min(number, len(ids) - 1)]
        write(folder / f'img/{number}.jpg', encode(image(number), 'JPEG'))
        write(folder / f'seg/{number}.png', png)
        name = dict(id=number, file_name=f'{number}.jpg', height=HEIGHT, width=WIDTH)
        content['images'].append(name)
        segments = [
            dict(id=table[name], category_id=CATEGORIES[name], iscrowd=0) for name in CLASSES
        ]
        content['annotations'].append(
            dict(image_id=number, file_name=f'{number}.png', segments_info=segments)
        )
    content['categories'] = [
        dict(id=CATEGORIES[name], name=name, isthing=int(name != 'grass')) for name in CLASSES
    ]
    (folder / 'a.json').write_text(json.dumps(content))
    return dict(
        type='PanopticDataset',
        metainfo=dict(classes=CLASSES, thing_classes=('cat', 'dog')),
        data_root=str(folder),
        ann_file='a.json',
        data_prefix=dict(img='img', seg='seg'),
        pipeline=LOAD,
    )


def findings(config):
    cfg = Config(dict(train_dataloader=dict(dataset=config)))
    return check_config(cfg, ['train'])['train'].findings


def bitmask():
    """As BDD100K has them: category, attributes, and the number of the object in blue and alpha."""
    mask = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    mask[..., 0] = ids_of(CATEGORIES)
    mask[CAT][..., 3], mask[DOG][..., 3] = 1, 2
    return mask


def categories_with_palette():
    return encode(ids_of(CATEGORIES).astype(np.uint8), palette=[37 * i % 256 for i in range(768)])


WRONG = {
    'blue first': (lambda: rgb(ids_of())[..., ::-1].copy(), 'red and blue change places.*cv2.imw'),
    'blue first and void': (
        lambda: np.where(np.arange(WIDTH)[:, None] < 5, 0, rgb(ids_of())[..., ::-1]),
        'red and blue change places',
    ),
    'bitmask': (bitmask, 'bitmasks of BDD100K .*an id of its own'),
    'categories': (lambda: rgb(ids_of(CATEGORIES)), 'ids of categories.*SemanticDataset'),
    'categories, palette': (categories_with_palette, 'palette has the ids of categories'),
    'one more': (lambda: rgb(ids_of() + 1), 'if 1 is subtracted'),
    'one less': (lambda: rgb(ids_of() - 1), 'if 1 is added'),
    'grey categories': (
        lambda: ids_of(CATEGORIES).astype(np.uint8),
        'not in colour with 8 bits.*ids of categories',
    ),
    'grey ids': (
        lambda: np.where(ids_of() == 70000, 0, ids_of()).astype(np.uint16),
        'not in colour with 8 bits.*the ids of segments.*id2rgb',
    ),
    'JPEG': (lambda: encode(rgb(ids_of()), 'JPEG'), 'is a JPEG by its content.*again as PNG'),
}


@pytest.mark.parametrize('kind', WRONG)
def test_what_a_png_looks_like_is_said_with_the_remedy(kind, tmp_path):
    make, message = WRONG[kind]
    config = write_set(tmp_path, make())
    with pytest.raises(ValueError, match=rf'0\.png.*{message}'):
        DATASETS.build(config)[0]
    # and not of each segment that it has no pixel
    found = [finding.kind for finding in findings(config) if finding.kind != 'no targets']
    assert len(found) == 1


def test_a_png_of_another_image_is_named_by_the_checker(tmp_path):
    other = {name: number + 5000 for name, number in IDS.items()}
    pngs = rgb(ids_of(other)), rgb(ids_of())
    config = write_set(tmp_path, *pngs, ids=(IDS, other))
    with pytest.raises(ValueError, match='oneformer check names that'):
        DATASETS.build(config)[0]
    found = [finding for finding in findings(config) if finding.kind != 'no targets']
    assert [f.kind for f in found] == ['PNG id without segment'] * 2
    assert 'All its ids are those of image id 1 (' in found[0].message
    assert 'All its ids are those of image id 0 (' in found[1].message
    assert not any('oneformer check' in f.message for f in found)


def test_right_pngs_are_read(tmp_path):
    opaque = np.dstack([rgb(ids_of()), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    config = write_set(tmp_path, rgb(ids_of()), opaque)
    dataset = DATASETS.build(config)
    for index in range(2):
        np.testing.assert_array_equal(dataset[index]['gt_seg_map'], label_map(1, 2, 3))
    assert findings(config) == []
