"""Class names, things and colours of the datasets, in the label order of the original.

The label order is part of every checkpoint. ADE20K's natural order interleaves things and stuff, so
nothing in this project may compare a label with the number of things.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from mmdet.datasets import CocoPanopticDataset
from mmdet.datasets.ade20k import ADE20KPanopticDataset
from mmseg.datasets import CityscapesDataset, MapillaryDataset_v1

_SIMILAR = 5  # names in a message

# fmt: off
_ADE20K_CLASSES = (
    'wall', 'building', 'sky', 'floor', 'tree', 'ceiling', 'road, route', 'bed', 'window ',
    'grass', 'cabinet', 'sidewalk, pavement', 'person', 'earth, ground', 'door', 'table',
    'mountain, mount', 'plant', 'curtain', 'chair', 'car', 'water', 'painting, picture', 'sofa',
    'shelf', 'house', 'sea', 'mirror', 'rug', 'field', 'armchair', 'seat', 'fence', 'desk',
    'rock, stone', 'wardrobe, closet, press', 'lamp', 'tub', 'rail', 'cushion',
    'base, pedestal, stand', 'box', 'column, pillar', 'signboard, sign',
    'chest of drawers, chest, bureau, dresser', 'counter', 'sand', 'sink', 'skyscraper',
    'fireplace', 'refrigerator, icebox', 'grandstand, covered stand', 'path', 'stairs',
    'runway', 'case, display case, showcase, vitrine',
    'pool table, billiard table, snooker table', 'pillow', 'screen door, screen',
    'stairway, staircase', 'river', 'bridge, span', 'bookcase', 'blind, screen', 'coffee table',
    'toilet, can, commode, crapper, pot, potty, stool, throne', 'flower', 'book', 'hill',
    'bench', 'countertop', 'stove', 'palm, palm tree', 'kitchen island', 'computer',
    'swivel chair', 'boat', 'bar', 'arcade machine', 'hovel, hut, hutch, shack, shanty', 'bus',
    'towel', 'light', 'truck', 'tower', 'chandelier', 'awning, sunshade, sunblind',
    'street lamp', 'booth', 'tv', 'plane', 'dirt track', 'clothes', 'pole',
    'land, ground, soil', 'bannister, banister, balustrade, balusters, handrail',
    'escalator, moving staircase, moving stairway', 'ottoman, pouf, pouffe, puff, hassock',
    'bottle', 'buffet, counter, sideboard', 'poster, posting, placard, notice, bill, card',
    'stage', 'van', 'ship', 'fountain',
    'conveyer belt, conveyor belt, conveyer, conveyor, transporter', 'canopy',
    'washer, automatic washer, washing machine', 'plaything, toy', 'pool', 'stool',
    'barrel, cask', 'basket, handbasket', 'falls', 'tent', 'bag', 'minibike, motorbike',
    'cradle', 'oven', 'ball', 'food, solid food', 'step, stair', 'tank, storage tank',
    'trade name', 'microwave', 'pot', 'animal', 'bicycle', 'lake', 'dishwasher', 'screen',
    'blanket, cover', 'sculpture', 'hood, exhaust hood', 'sconce', 'vase', 'traffic light',
    'tray', 'trash can', 'fan', 'pier', 'crt screen', 'plate', 'monitor', 'bulletin board',
    'shower', 'radiator', 'glass, drinking glass', 'clock', 'flag',
)

_ADE20K_STUFF = {
    'wall', 'building', 'sky', 'floor', 'tree', 'ceiling', 'road, route', 'grass',
    'sidewalk, pavement', 'earth, ground', 'mountain, mount', 'plant', 'water', 'house', 'sea',
    'rug', 'field', 'rock, stone', 'base, pedestal, stand', 'sand', 'skyscraper',
    'grandstand, covered stand', 'path', 'runway', 'stairway, staircase', 'river',
    'bridge, span', 'blind, screen', 'hill', 'bar', 'hovel, hut, hutch, shack, shanty', 'tower',
    'dirt track', 'land, ground, soil', 'escalator, moving staircase, moving stairway',
    'buffet, counter, sideboard', 'poster, posting, placard, notice, bill, card', 'stage',
    'conveyer belt, conveyor belt, conveyer, conveyor, transporter', 'canopy', 'pool', 'falls',
    'tent', 'cradle', 'tank, storage tank', 'lake', 'blanket, cover', 'pier', 'crt screen',
    'shower',
}

_CITYSCAPES_THINGS = (
    'person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle',
)

_MAPILLARY_THINGS = (
    'Bird', 'Ground Animal', 'Crosswalk - Plain', 'Person', 'Bicyclist', 'Motorcyclist',
    'Other Rider', 'Lane Marking - Crosswalk', 'Banner', 'Bench', 'Bike Rack', 'Billboard',
    'Catch Basin', 'CCTV Camera', 'Fire Hydrant', 'Junction Box', 'Mailbox', 'Manhole',
    'Phone Booth', 'Street Light', 'Pole', 'Traffic Sign Frame', 'Utility Pole',
    'Traffic Light', 'Traffic Sign (Back)', 'Traffic Sign (Front)', 'Trash Can', 'Bicycle',
    'Boat', 'Bus', 'Car', 'Caravan', 'Motorcycle', 'Other Vehicle', 'Trailer', 'Truck',
    'Wheeled Slow',
)
# fmt: on

KNOWN_DATASETS = dict(
    ade20k=dict(
        classes=_ADE20K_CLASSES,
        thing_classes=tuple(name for name in _ADE20K_CLASSES if name not in _ADE20K_STUFF),
        # mmdet lists its classes things first, but these colours in the order above
        palette=ADE20KPanopticDataset.METAINFO['palette'],
        # the instance annotation of ADE20K has the first of several names, or eight of its own, of
        # which mmdet's converter writes "airplane" too; the last two are mmsegmentation's
        aliases={
            **{name.split(',')[0]: name for name in _ADE20K_CLASSES if ',' in name},
            'airplane': 'plane',
            'windowpane': 'window ',
            'bathtub': 'tub',
            'railing': 'rail',
            'streetlight': 'street lamp',
            'television receiver': 'tv',
            'apparel': 'clothes',
            'ashcan': 'trash can',
            'swimming pool': 'pool',
            'waterfall': 'falls',
        },
    ),
    cityscapes=dict(
        classes=CityscapesDataset.METAINFO['classes'],
        thing_classes=_CITYSCAPES_THINGS,
        palette=CityscapesDataset.METAINFO['palette'],
    ),
    coco=dict(
        classes=CocoPanopticDataset.METAINFO['classes'],
        thing_classes=CocoPanopticDataset.METAINFO['thing_classes'],
        palette=CocoPanopticDataset.METAINFO['palette'],
    ),
    mapillary=dict(  # Vistas v1.2; its 66th class, "Unlabeled", is void
        classes=MapillaryDataset_v1.METAINFO['classes'][:65],
        thing_classes=_MAPILLARY_THINGS,
        palette=MapillaryDataset_v1.METAINFO['palette'][:65],
    ),
)


def known_dataset_of_size(num_classes: int) -> str | None:
    """The dataset that has this number of classes, used to read a bare checkpoint."""
    sizes = {len(dataset['classes']): name for name, dataset in KNOWN_DATASETS.items()}
    return sizes.get(num_classes)


def closest(unknown: Sequence[str], names: Iterable[str]) -> str:
    """Names that look most like unknown ones, for messages; empty if none does."""
    folded = {name.strip().casefold(): name for name in names}
    similar = {}
    for name in unknown:
        word = name.strip().casefold() if isinstance(name, str) else ''
        for found in difflib.get_close_matches(word, folded, 1, 0.7):
            similar[name] = folded[found]
    pairs = [f'{name!r} looks like {other!r}' for name, other in list(similar.items())[:_SIMILAR]]
    return f' ({", ".join(pairs)})' if pairs else ''


def is_thing(metainfo: Mapping) -> np.ndarray:
    """Whether each class is a thing, bool of shape (K,), by ``classes`` and ``thing_classes``."""
    things = set(metainfo['thing_classes'])
    return np.array([name in things for name in metainfo['classes']], dtype=bool)


def resolve_metainfo(metainfo: Mapping | str) -> dict:
    """Look up a dataset by name, or check a dataset's own classes.

    Args:
        metainfo: A name in ``KNOWN_DATASETS``, or a mapping with ``classes`` and ``thing_classes``.

    Returns:
        A dict with at least ``classes`` and ``thing_classes``, both tuples of names.

    Raises:
        ValueError: If a dataset is unknown, a key is missing, a class is listed twice, or a thing
            or alias is not a class.
    """
    if isinstance(metainfo, str):
        if metainfo not in KNOWN_DATASETS:
            raise ValueError(
                f'unknown dataset {metainfo!r}{closest([metainfo], KNOWN_DATASETS)}: choose one of '
                f'{", ".join(KNOWN_DATASETS)}, or give metainfo as dict(classes=(...), '
                'thing_classes=(...))'
            )
        metainfo = KNOWN_DATASETS[metainfo]
    if not isinstance(metainfo, Mapping):
        comma = ', without the comma behind it' if isinstance(metainfo, tuple) else ''
        raise ValueError(
            f'metainfo is {metainfo!r}, a {type(metainfo).__name__}: write '
            f'dict(classes=(...), thing_classes=(...)){comma}'
        )
    missing = {'classes', 'thing_classes'} - set(metainfo)
    if missing:
        raise ValueError(
            f'metainfo lacks {sorted(missing)}: it must name all classes and the things'
        )
    for key in ('classes', 'thing_classes'):
        if isinstance(metainfo[key], str):
            raise ValueError(
                f'metainfo.{key} is the text {metainfo[key]!r}: write a list of names, '
                f'({metainfo[key]!r},) for a single one'
            )
        names = metainfo[key]
        if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
            raise ValueError(f'metainfo.{key} is not a list of texts: {names!r}')
    classes, things = tuple(metainfo['classes']), tuple(metainfo['thing_classes'])
    stripped = [name.strip() for name in classes]  # as annotation files may spell them
    repeated = sorted({name for name in stripped if stripped.count(name) > 1})
    if repeated:
        raise ValueError(f'metainfo.classes lists names twice: {repeated}')
    strangers = [name for name in things if name not in classes]
    if strangers:
        raise ValueError(
            f'metainfo.thing_classes has names that are not classes: {strangers}'
            f'{closest(strangers, classes)}'
        )
    if not classes:
        raise ValueError('metainfo.classes is empty: name at least one class')
    aliases = metainfo.get('aliases', {})
    if not isinstance(aliases, Mapping) or not all(isinstance(alias, str) for alias in aliases):
        raise ValueError(f'metainfo.aliases is not a dict of other name -> class: {aliases!r}')
    unknown = [name for name in aliases.values() if name is not None and name not in classes]
    if unknown:
        raise ValueError(
            f'metainfo.aliases leads to names that are not classes: {unknown}'
            f'{closest(unknown, classes)}'
        )
    resolved = {**metainfo, 'classes': classes, 'thing_classes': things}
    if 'aliases' in metainfo:
        # plain, since checkpoints keep it, and safe loading refuses a config's own dict
        resolved['aliases'] = dict(metainfo['aliases'])
    return resolved
