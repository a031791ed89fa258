"""Miniatures of the paper's four datasets, in the layout and file formats of their downloads.

Every split has at least three images, among them one with a crowd (where the raw files know crowds)
or a stuff region that things cover completely (ADE20K), one without things, and void in each.

Legend: a scene is a height, a width and a list of regions, painted in turn; a region is a class
name, what it is, and a box (top, bottom, left, right) in eighths of the height and the width. What
no region covers is void.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

STUFF, THING, CROWD = 'stuff', 'thing', 'crowd'
_CLASSES = json.loads((Path(__file__).parent / 'data/official_classes.json').read_text())


def _boxes(height, width, regions):
    """The regions of a scene as (number, name, kind, slices of rows and columns)."""
    for number, (name, kind, (top, bottom, left, right)) in enumerate(regions, 1):
        rows = slice(top * height // 8, bottom * height // 8)
        yield number, name, kind, (rows, slice(left * width // 8, right * width // 8))


def _write_image(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **(dict(quality=95) if path.suffix == '.jpg' else {}))


def _write_scene(path, scene, seed):
    """An image in which every class has its colour, with noise."""
    height, width, regions = scene
    pixels = np.full((height, width, 3), 120.0)
    for number, name, _, box in _boxes(*scene):
        colour = np.random.default_rng(list(name.encode())).uniform(30, 225, 3)
        pixels[box] = colour + 2 * number
    pixels += np.random.default_rng(seed).normal(0, 8, pixels.shape)
    _write_image(path, pixels.clip(0, 255).astype(np.uint8))


def _write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _id_png(id_map):
    """Ids (H, W) as R + 256 G + 65536 B, uint8 (H, W, 3)."""
    return np.stack([id_map % 256, id_map // 256 % 256, id_map // 65536], -1).astype(np.uint8)


def _panoptic(scene, category_ids, ids):
    """The id map (H, W) of a scene and its ``segments_info``.

    Args:
        category_ids: Of the class names.
        ids: Of the regions, distinct.
    """
    height, width, _ = scene
    id_map, segments = np.zeros((height, width), np.int64), []
    for number, _, _, box in _boxes(*scene):
        id_map[box] = ids[number - 1]
    for number, name, kind, _ in _boxes(*scene):
        rows, columns = np.nonzero(id_map == ids[number - 1])
        left, top = int(columns.min()), int(rows.min())
        segments.append(
            dict(
                id=ids[number - 1],
                category_id=category_ids[name],
                iscrowd=int(kind == CROWD),
                area=len(rows),
                bbox=[left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1],
            )
        )
    return id_map, segments


def write_ade20k(root):
    """``root`` becomes an ADEChallengeData2016 folder: 4 images to train on, 3 to validate.

    The raw files: semantic labels 1 to 150 (0: void), and instances as RGB: red is the instance
    class 1 to 100, green the number of the instance in the image. In the first scene a bed covers
    all of the rug, and the semantic map shows a lamp of which there is no instance.
    """
    root = Path(root)
    label_of = {entry['name']: entry['label'] for entry in _CLASSES['ade20k']}
    instance_class = {
        entry['panoptic_label']: entry['label'] + 1 for entry in _CLASSES['ade20k_instance']
    }
    bedroom = [
        ('wall', STUFF, (0, 5, 0, 8)),
        ('floor', STUFF, (5, 8, 1, 8)),
        ('rug', STUFF, (6, 7, 3, 5)),
        ('lamp', STUFF, (1, 2, 6, 7)),
        ('bed', THING, (4, 7, 3, 6)),
        ('cushion', THING, (4, 5, 3, 4)),
        ('cushion', THING, (4, 5, 5, 6)),
    ]
    street = [
        ('sky', STUFF, (0, 3, 0, 8)),
        ('building', STUFF, (1, 5, 0, 3)),
        ('road, route', STUFF, (5, 8, 0, 7)),
        ('person', THING, (3, 6, 3, 4)),
        ('car', THING, (4, 6, 5, 7)),
        ('person', THING, (3, 6, 4, 5)),
    ]
    beach = [
        ('sky', STUFF, (0, 4, 0, 8)),
        ('sea', STUFF, (4, 6, 0, 8)),
        ('sand', STUFF, (6, 8, 2, 8)),
    ]
    splits = dict(
        training=[(96, 128, bedroom), (128, 96, street), (96, 96, beach), (96, 160, street)],
        validation=[(96, 128, street), (112, 96, beach), (128, 128, bedroom)],
    )
    for split, scenes in splits.items():
        for index, scene in enumerate(scenes, 1):
            name = f'ADE_{split.removesuffix("ing").removesuffix("idation")}_{index:08}'
            semantic = np.zeros(scene[:2], np.uint8)
            instances = np.zeros((*scene[:2], 3), np.uint8)
            number = 0
            for _, class_name, kind, box in _boxes(*scene):
                label = label_of[class_name]
                # the raw semantic map shows what lies under the first thing, as real ones may
                if kind == STUFF or number:
                    semantic[box] = label + 1
                if kind == THING:
                    number += 1
                    instances[box] = instance_class[label], number, 0
            _write_scene(root / f'images/{split}/{name}.jpg', scene, index)
            _write_image(root / f'annotations/{split}/{name}.png', semantic)
            _write_image(root / f'annotations_instance/{split}/{name}.png', instances)
    rows = [f'{label + 1}\t0.01\t10\t1\t{name}\n' for name, label in label_of.items()]
    (root / 'objectInfo150.txt').write_text('Idx\tRatio\tTrain\tVal\tName\n' + ''.join(rows))


def write_cityscapes(root):
    """``root`` gets leftImg8bit/ and gtFine/: two cities and 3 images per split, of equal size.

    In instanceIds a thing is 1000 times its id plus a number; a thing class below 1000 is a group.
    The files for submissions and evaluation (labelIds, color, polygons) are there as well.
    """
    root = Path(root)
    label_ids = {entry['name']: entry['dataset_id'] for entry in _CLASSES['cityscapes']}
    label_ids |= {'ego vehicle': 1, 'out of roi': 3, 'parking': 9}  # void, but not 0
    street = [
        ('sky', STUFF, (0, 3, 0, 8)),
        ('building', STUFF, (1, 5, 0, 3)),
        ('road', STUFF, (5, 8, 0, 8)),
        ('car', THING, (4, 6, 4, 6)),
        ('car', CROWD, (4, 5, 6, 8)),
        ('person', THING, (3, 6, 2, 3)),
        ('rider', THING, (3, 5, 3, 4)),
        ('bicycle', THING, (4, 6, 3, 4)),
        ('ego vehicle', STUFF, (7, 8, 0, 8)),
        ('out of roi', STUFF, (0, 8, 0, 1)),
    ]
    park = [
        ('sky', STUFF, (0, 3, 0, 7)),
        ('vegetation', STUFF, (2, 5, 0, 8)),
        ('road', STUFF, (5, 8, 0, 8)),
        ('parking', STUFF, (5, 7, 6, 8)),
    ]
    station = [
        ('building', STUFF, (0, 5, 0, 8)),
        ('sidewalk', STUFF, (5, 8, 1, 8)),
        ('person', THING, (4, 6, 1, 2)),
        ('person', THING, (4, 6, 3, 4)),
        ('person', CROWD, (4, 5, 4, 7)),
    ]
    splits = dict(
        train=[('aachen', street), ('aachen', park), ('bochum', station)],
        val=[('frankfurt', park), ('munster', street), ('munster', station)],
    )
    height, width = 96, 192
    for split, scenes in splits.items():
        for index, (city, regions) in enumerate(scenes):
            scene = (height, width, regions)
            name = f'{city}_{index:06}_000019'
            instance_ids = np.zeros((height, width), np.uint16)
            objects, counts = [], {}
            for _, label, kind, box in _boxes(*scene):
                instance_ids[box] = label_ids[label]
                if kind == THING:
                    instance_ids[box] = 1000 * label_ids[label] + counts.get(label, 0)
                    counts[label] = counts.get(label, 0) + 1
                top, bottom, left, right = box[0].start, box[0].stop, box[1].start, box[1].stop
                corners = [[left, top], [right - 1, top], [right - 1, bottom - 1]]
                corners.append([left, bottom - 1])
                group = 'group' if kind == CROWD else ''
                objects.append(dict(label=label + group, polygon=corners))
            semantic = np.where(instance_ids < 1000, instance_ids, instance_ids // 1000)
            colors = np.random.default_rng(0).integers(0, 255, (34, 3), np.uint8)
            truth = root / f'gtFine/{split}/{city}'
            _write_scene(root / f'leftImg8bit/{split}/{city}/{name}_leftImg8bit.png', scene, index)
            _write_image(truth / f'{name}_gtFine_instanceIds.png', instance_ids)
            _write_image(truth / f'{name}_gtFine_labelIds.png', semantic.astype(np.uint8))
            _write_image(truth / f'{name}_gtFine_color.png', colors[semantic])
            _write_json(
                truth / f'{name}_gtFine_polygons.json',
                dict(imgHeight=height, imgWidth=width, objects=objects),
            )


def write_coco(root):
    """``root`` gets train2017/, val2017/ and annotations/ with the panoptic PNGs unpacked."""
    root = Path(root)
    categories = [
        dict(
            id=entry['dataset_id'],
            name=entry['name'],
            supercategory='thing' if entry['isthing'] else 'stuff',
            isthing=entry['isthing'],
            color=[entry['label'], 255 - entry['label'], 100],
        )
        for entry in _CLASSES['coco']
    ]
    category_ids = {category['name']: category['id'] for category in categories}
    kitchen = [
        ('wall-other-merged', STUFF, (0, 5, 0, 8)),
        ('floor-wood', STUFF, (5, 8, 0, 7)),
        ('dining table', THING, (4, 7, 2, 6)),
        ('cup', THING, (4, 5, 3, 4)),
        ('cup', THING, (4, 5, 5, 6)),
    ]
    stadium = [
        ('grass-merged', STUFF, (3, 8, 0, 8)),
        ('person', CROWD, (0, 2, 0, 8)),
        ('person', THING, (3, 6, 2, 3)),
        ('person', THING, (4, 7, 5, 6)),
        ('sports ball', THING, (6, 7, 4, 5)),
    ]
    beach = [
        ('sky-other-merged', STUFF, (0, 4, 0, 8)),
        ('sea', STUFF, (4, 6, 0, 8)),
        ('sand', STUFF, (6, 8, 1, 8)),
    ]
    splits = dict(
        train=[(96, 128, kitchen), (128, 96, stadium), (96, 96, beach), (96, 160, kitchen)],
        val=[(96, 128, stadium), (112, 96, beach), (128, 128, kitchen)],
    )
    for split, scenes in splits.items():
        images, annotations = [], []
        for index, scene in enumerate(scenes, 1):
            image_id = 37 * index + 100 * (split == 'train')
            name = f'{image_id:012}'
            # as in the official files, ids are colours without order
            ids = [(3000017 * number + 517 * index) % (1 << 24) for number, *_ in _boxes(*scene)]
            id_map, segments = _panoptic(scene, category_ids, ids)
            _write_scene(root / f'{split}2017/{name}.jpg', scene, index)
            _write_image(root / f'annotations/panoptic_{split}2017/{name}.png', _id_png(id_map))
            images.append(
                dict(id=image_id, file_name=f'{name}.jpg', height=scene[0], width=scene[1])
            )
            annotations.append(
                dict(image_id=image_id, file_name=f'{name}.png', segments_info=segments)
            )
        _write_json(
            root / f'annotations/panoptic_{split}2017.json',
            dict(info={}, licenses=[], images=images, annotations=annotations)
            | dict(categories=categories),
        )


def write_mapillary(root):
    """``root`` becomes Mapillary Vistas v1.2: 3 images per split, with labels and instances."""
    root = Path(root)
    entries = _CLASSES['mapillary_vistas']
    categories = [
        dict(
            id=entry['dataset_id'],
            name=entry['name'],
            supercategory=entry['name'],
            isthing=entry['isthing'],
            color=[3 * entry['label'], 255 - entry['label'], 100],
        )
        for entry in entries
    ]
    category_ids = {category['name']: category['id'] for category in categories}
    palette = [value for category in categories for value in category['color']] + [0, 0, 0]
    street = [
        ('Sky', STUFF, (0, 3, 0, 8)),
        ('Building', STUFF, (1, 5, 0, 3)),
        ('Road', STUFF, (5, 8, 0, 8)),
        ('Car', THING, (4, 6, 4, 6)),
        ('Car', THING, (4, 6, 6, 7)),
        ('Person', CROWD, (3, 5, 2, 4)),
        ('Street Light', THING, (0, 5, 3, 4)),
        ('Ego Vehicle', STUFF, (7, 8, 0, 8)),
    ]
    crossing = [
        ('Vegetation', STUFF, (0, 4, 0, 7)),
        ('Road', STUFF, (4, 8, 0, 8)),
        ('Crosswalk - Plain', THING, (6, 7, 1, 7)),
        ('Person', THING, (3, 6, 2, 3)),
        ('Person', THING, (4, 7, 5, 6)),
    ]
    hills = [
        ('Sky', STUFF, (0, 3, 0, 8)),
        ('Terrain', STUFF, (3, 6, 0, 8)),
        ('Road', STUFF, (6, 8, 1, 8)),
    ]
    splits = dict(
        training=[(96, 128, street), (128, 96, crossing), (96, 160, hills)],
        validation=[(96, 128, crossing), (112, 96, hills), (128, 128, street)],
    )
    for split, scenes in splits.items():
        images, annotations = [], []
        for index, scene in enumerate(scenes, 1):
            name = f'{split[:1]}{index}rOcAH8vcNXJqmFT-UkA_'
            labels = np.full(scene[:2], len(entries), np.uint8)  # "Unlabeled"
            instances = np.full(scene[:2], 256 * len(entries), np.uint16)
            counts = {}
            for _, label, kind, box in _boxes(*scene):
                labels[box] = category_ids[label] - 1
                instances[box] = 256 * (category_ids[label] - 1) + counts.get(label, 0)
                counts[label] = counts.get(label, 0) + (kind == THING)
            ids = [category_ids[region[1]] + 256 * region[0] for region in _boxes(*scene)]
            id_map, segments = _panoptic(scene, category_ids, ids)
            _write_scene(root / f'{split}/images/{name}.jpg', scene, index)
            label_png = Image.fromarray(labels)
            label_png.putpalette(palette)
            (root / split / 'labels').mkdir(parents=True, exist_ok=True)
            label_png.save(root / f'{split}/labels/{name}.png')
            _write_image(root / f'{split}/instances/{name}.png', instances)
            _write_image(root / f'{split}/panoptic/{name}.png', _id_png(id_map))
            images.append(dict(id=name, file_name=f'{name}.jpg', height=scene[0], width=scene[1]))
            annotations.append(dict(image_id=name, file_name=f'{name}.png', segments_info=segments))
        _write_json(
            root / f'{split}/panoptic/panoptic_2018.json',
            dict(images=images, annotations=annotations, categories=categories),
        )
