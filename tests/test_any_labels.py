"""Instance JSON, label PNGs, datasets of mmsegmentation, and several sets in one run."""

import json

import numpy as np
import pytest
from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmseg.datasets import ADE20KDataset, CityscapesDataset, PascalVOCDataset
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image
from pycocotools import mask as mask_utils

from oneformer.datasets.categories import labels_by_name
from oneformer.metainfo import resolve_metainfo

METAINFO = dict(classes=('sky', 'cat', 'grass', 'dog'), thing_classes=('cat', 'dog'))
LOAD = [dict(type='LoadPhoto'), dict(type='LoadSegmentMap'), dict(type='PackSegmentInputs')]
HEIGHT, WIDTH = 40, 60


def square(top, left, side):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def polygon(top, left, side):
    return [left, top, left + side, top, left + side, top + side, left, top + side]


def compressed(mask):
    code = mask_utils.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=code['size'], counts=code['counts'].decode())


def uncompressed(mask):
    flat = mask.flatten(order='F')
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return dict(size=list(mask.shape), counts=[0, *counts] if flat[0] else counts)


def write_images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new('RGB', (WIDTH, HEIGHT), (90, 120, 30)).save(folder / f'{name}.jpg')


def annotation(number, segmentation, image_id=1, category_id=3, **others):
    return dict(
        id=number,
        image_id=image_id,
        category_id=category_id,
        segmentation=segmentation,
        **others,
    )


ANNOTATIONS = [
    annotation(50, [polygon(2, 2, 20)], area=400, iscrowd=0),
    annotation(51, compressed(square(5, 5, 6)), category_id=8),  # lies on the first
    annotation(52, uncompressed(square(25, 30, 10))),
    annotation(53, uncompressed(square(20, 40, 20)), iscrowd=1),
    annotation(54, [polygon(0, 50, 4), polygon(10, 50, 4)], category_id=8),
]


def write_instances(folder, annotations=ANNOTATIONS, categories=None, **image):
    write_images(folder / 'img', ('a', 'b'))
    size = dict(height=HEIGHT, width=WIDTH)
    content = dict(
        images=[
            {**size, 'id': 1, 'file_name': 'a.jpg', **image},
            {**size, 'id': 2, 'file_name': 'b.jpg'},
        ],
        annotations=annotations,
        categories=categories or [dict(id=8, name='dog'), dict(id=3, name='cat')],
    )
    (folder / 'a.json').write_text(json.dumps(content))


def instance_set(folder, **kwargs):
    config = dict(
        type='InstanceDataset',
        metainfo=METAINFO,
        data_root=str(folder),
        ann_file='a.json',
        data_prefix=dict(img='img'),
        pipeline=LOAD,
    )
    return DATASETS.build({**config, **kwargs})


def test_polygons_and_run_length_codes_become_one_map_with_the_smaller_on_top(tmp_path):
    write_instances(tmp_path)
    dataset = instance_set(tmp_path)
    segment_map = dataset[0]['data_samples'].gt_panoptic_seg.sem_seg[0].numpy()
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[square(20, 40, 20)] = 4
    expected[square(2, 2, 20)] = 1
    expected[square(25, 30, 10)] = 3
    expected[square(5, 5, 6)] = 2
    expected[square(0, 50, 4) | square(10, 50, 4)] = 5
    np.testing.assert_array_equal(segment_map, expected)
    segments = dataset[0]['data_samples'].segments_info
    assert [s['category'] for s in segments] == ['cat', 'dog', 'cat', 'cat', 'dog']
    assert [s['iscrowd'] for s in segments] == [False, False, False, True, False]
    # an image without objects says where nothing is
    assert not dataset[1]['data_samples'].gt_panoptic_seg.sem_seg.any()
    info = dataset.get_data_info(0)
    assert (info['tasks'], info['known_labels'], info['ignore']) == (
        ('instance',),
        (1, 3),
        ('crowd',),
    )


def test_a_category_can_be_left_out(tmp_path):
    only_dogs = dict(classes=('dog',), thing_classes=('dog',), aliases=dict(cat=None))
    write_instances(tmp_path)
    dataset = instance_set(tmp_path, metainfo=only_dogs)
    sample = dataset[0]['data_samples']
    assert [s['id'] for s in sample.segments_info] == [51, 54]
    expected = np.where(square(5, 5, 6), 1, 0)
    expected[square(0, 50, 4) | square(10, 50, 4)] = 2
    np.testing.assert_array_equal(sample.gt_panoptic_seg.sem_seg[0].numpy(), expected)
    assert dataset.get_data_info(0)['known_labels'] is None
    write_labels(tmp_path / 'labels', [VALUES, VALUES])
    names = ('cat', 'dog')
    dataset = semantic_set(tmp_path / 'labels', metainfo=only_dogs, label_classes=(*names, *names))
    np.testing.assert_array_equal(named_map(dataset) == 'dog', np.isin(VALUES, [1, 3]))


@pytest.mark.parametrize(
    'fault, message',
    [
        (dict(annotations=[annotation(7, [[1, 1, 5, 5]])]), 'annotation 7 of .*three points'),
        (dict(annotations=[annotation(7, [])]), 'a.json: annotation 7 has no segmentation'),
        (
            dict(annotations=[annotation(7, dict(size=[9, 9], counts=[81]))]),
            r'annotation 7 of .*a.jpg: .* \(height, width\) \[9, 9\]',
        ),
        (
            dict(annotations=[annotation(7, dict(size=[HEIGHT, WIDTH], counts=[81]))]),
            'annotation 7 of .*code has 81 pixels',
        ),
        (
            dict(annotations=[annotation(7, [polygon(0, 0, 9)], image_id=5)]),
            'annotation 7 is of image id 5, which',
        ),
        (
            dict(annotations=[annotation(7, [polygon(0, 0, 9)], category_id=5)]),
            'annotation 7 has category id 5, which',
        ),
        (dict(categories=[dict(id=3, name='sky')]), r"instances of \['sky'\].*thing_classes"),
        (dict(categories=[dict(id=3, name='cow')]), r"not among the 4 classes .*\['cow'\]"),
        (dict(height=99), r'image id 1 has \(height, width\) \(99, 60\), but image .*a.jpg'),
    ],
)
def test_faulty_instance_files_are_named(tmp_path, fault, message):
    write_instances(tmp_path, **fault)
    with pytest.raises(ValueError, match=message):
        instance_set(tmp_path)[0]


def write_labels(folder, values, mode='L'):
    write_images(folder / 'img/town', ('a', 'b'))
    (folder / 'seg/town').mkdir(parents=True)
    for name, array in zip(('a', 'b'), values):
        picture = Image.fromarray(np.asarray(array, np.uint8))
        if mode == 'P':
            picture.putpalette([(7 * i) % 256 for i in range(768)])
        picture.save(folder / f'seg/town/{name}.png')


def semantic_set(folder, **kwargs):
    config = dict(
        type='SemanticDataset',
        metainfo=METAINFO,
        data_root=str(folder),
        data_prefix=dict(img='img', seg='seg'),
        pipeline=LOAD,
    )
    return DATASETS.build({**config, **kwargs})


def named_map(dataset, index=0):
    """The map of a sample as class names, '' for void."""
    sample = dataset[index]['data_samples']
    names = np.array(['', *(segment['category'] for segment in sample.segments_info)])
    return names[sample.gt_panoptic_seg.sem_seg[0].numpy()]


VALUES = np.repeat([[0, 1, 2, 3, 255, 0]], HEIGHT, 0).repeat(WIDTH // 6, 1)


@pytest.mark.parametrize('mode', ['L', 'P'])
@pytest.mark.parametrize(
    'kwargs, names, known',
    [
        (dict(), ['sky', 'cat', 'grass', 'dog', '', 'sky'], None),
        (dict(reduce_zero_label=True), ['', 'sky', 'cat', 'grass', '', ''], None),
        (dict(ignore_index=254), None, None),
        (
            dict(label_classes=('dog', 'kitty', 'grass', None)),
            ['dog', 'cat', 'grass', '', '', 'dog'],
            (1, 2, 3),
        ),
        (
            dict(label_classes={0: 'grass', 1: None, 2: 'grass', 3: 'sky'}),
            ['grass', '', 'grass', 'sky', '', 'grass'],
            (0, 2),
        ),
    ],
)
def test_label_pngs_mean_what_the_config_says(tmp_path, kwargs, names, known, mode):
    write_labels(tmp_path, [VALUES, VALUES], mode)
    dataset = semantic_set(tmp_path, metainfo=dict(METAINFO, aliases=dict(kitty='cat')), **kwargs)
    if names is None:  # 255 is a fault where another value is void
        with pytest.raises(ValueError, match=r'town/a\.png has 400 pixels of value 255'):
            dataset[0]
        return
    np.testing.assert_array_equal(named_map(dataset), np.repeat([names], HEIGHT, 0).repeat(10, 1))
    info = dataset.get_data_info(0)
    assert (info['tasks'], info['known_labels'], info['ignore']) == (
        ('semantic',),
        known,
        ('void',),
    )


def test_an_ann_file_chooses_images(tmp_path):
    write_labels(tmp_path, [VALUES, VALUES])
    (tmp_path / 'list.txt').write_text('town/b\n')
    dataset = semantic_set(tmp_path, ann_file='list.txt')
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == ['town/b']


def test_faulty_label_pngs_are_named(tmp_path):
    write_labels(tmp_path / 'value', [VALUES + (VALUES == 2) * 7, VALUES])
    with pytest.raises(ValueError, match=r'a\.png has 400 pixels of value 9, which means no class'):
        semantic_set(tmp_path / 'value')[0]
    write_labels(tmp_path / 'alone', [VALUES])
    with pytest.raises(
        ValueError, match=r'1 of 2 files in .*img have no partner .* town/b: .*b\.png'
    ):
        semantic_set(tmp_path / 'alone')
    write_labels(tmp_path / 'size', [VALUES[:9], VALUES])
    with pytest.raises(ValueError, match=r'a\.png has \(height, width\) \(9, 60\), but image'):
        semantic_set(tmp_path / 'size')[0]
    write_labels(tmp_path / 'colour', [np.stack([VALUES, VALUES, 0 * VALUES], -1), VALUES])
    with pytest.raises(ValueError, match=r'a\.png is a colour picture'):
        semantic_set(tmp_path / 'colour')[0]
    with pytest.raises(ValueError, match=r'nowhere/img is not a folder'):
        semantic_set(tmp_path / 'nowhere')
    with pytest.raises(FileNotFoundError, match=r'list of images .*list\.txt does not exist'):
        semantic_set(tmp_path / 'colour', ann_file='list.txt')
    with pytest.raises(ValueError, match=r"are a class .* and void .*{0: 'sky'}"):
        semantic_set(tmp_path / 'colour', ignore_index=0)
    with pytest.raises(ValueError, match=r'label_classes has \[70000\]'):
        semantic_set(tmp_path / 'colour', label_classes={70000: 'cat'})
    with pytest.raises(ValueError, match=r"filter_cfg of a SemanticDataset .*\['without_things'\]"):
        semantic_set(tmp_path / 'colour', filter_cfg=dict(without_things=True))


@pytest.mark.parametrize('reduced', [False, True])
def test_a_data_set_of_mmsegmentation_is_read_as_it_reads_itself(tmp_path, reduced):
    """Both without and with a choice among the classes that mmsegmentation's class declares."""
    write_labels(tmp_path, [VALUES, VALUES])
    (tmp_path / 'list.txt').write_text('town/a\ntown/b\n')
    source = dict(
        type='mmseg.PascalVOCDataset',
        data_root=str(tmp_path),
        ann_file='list.txt',
        data_prefix=dict(img_path='img', seg_map_path='seg'),
        reduce_zero_label=reduced,
        metainfo=dict(classes=('aeroplane', 'bird', 'bicycle')),
    )
    classes = ('bicycle', 'boat', 'bird', 'aeroplane')
    dataset = DATASETS.build(
        dict(
            type='SemanticDataset',
            metainfo=dict(classes=classes, thing_classes=classes),
            dataset=source,
            pipeline=LOAD,
        )
    )
    arguments = {key: value for key, value in source.items() if key != 'type'}
    theirs = PascalVOCDataset(**arguments, pipeline=[LoadAnnotations()])
    names = np.full(256, '', dtype='U20')
    names[:3] = source['metainfo']['classes']
    np.testing.assert_array_equal(named_map(dataset), names[theirs[0]['gt_seg_map']])
    assert dataset.get_data_info(0)['known_labels'] == (0, 2, 3)


@pytest.mark.parametrize(
    'source, dataset', [(ADE20KDataset, 'ade20k'), (CityscapesDataset, 'cityscapes')]
)
def test_classes_of_mmsegmentation_are_those_of_the_dataset(source, dataset):
    names = source.METAINFO['classes']
    labels = labels_by_name(names, resolve_metainfo(dataset), source.__name__)
    assert list(labels.values()) == list(range(len(names)))


@pytest.fixture
def joint(tmp_path):
    """Two images with instance labels and two with label PNGs."""
    write_instances(tmp_path / 'instances')
    write_labels(tmp_path / 'labels', [VALUES, VALUES])
    train = [*LOAD[:2], dict(type='SampleTask'), LOAD[2]]

    def build(**kwargs):
        sets = [
            instance_set(tmp_path / 'instances', pipeline=train),
            semantic_set(tmp_path / 'labels', pipeline=train),
        ]
        return DATASETS.build(dict(type='JointDataset', datasets=sets, **kwargs))

    return build


def test_pairs_of_set_and_task_are_drawn_by_weight(joint):
    dataset = joint(weights=[dict(instance=3), dict(semantic=1)])
    sampler = DATA_SAMPLERS.build(dict(type='JointSampler', dataset=dataset, seed=0))
    stream = iter(sampler)
    drawn = np.bincount([next(stream) for _ in range(4000)], minlength=4)
    assert 2850 < drawn[:2].sum() < 3150
    # images of a set take turns
    assert abs(drawn[0] - drawn[1]) <= 1 and abs(drawn[2] - drawn[3]) <= 1
    assert [dataset[i]['data_samples'].task for i in range(4)] == ['instance'] * 2 + [
        'semantic'
    ] * 2
    # the same stream again from any position, as resuming needs
    again = DATA_SAMPLERS.build(dict(type='JointSampler', dataset=dataset, seed=0))
    first = [next(iter_) for iter_ in [iter(again)] for _ in range(20)]
    skipped = DATA_SAMPLERS.build(dict(type='JointSampler', dataset=dataset, seed=0))
    skipped.skip(15)
    later = iter(skipped)
    assert [next(later) for _ in range(5)] == first[15:]


def test_wrong_weights_and_classes_of_a_joint_set_are_named(joint, tmp_path):
    with pytest.raises(ValueError, match='2 datasets, but 1 weights'):
        joint(weights=[dict(instance=1)])
    with pytest.raises(ValueError, match=r"weights\[1\] names \['panoptic'\], .*SemanticDataset"):
        joint(weights=[dict(instance=1), dict(panoptic=1)])
    with pytest.raises(ValueError, match=r'weights\[1\] is {}, .*not all zero'):
        joint(weights=[dict(instance=1), {}])
    with pytest.raises(ValueError, match='only JointSampler follows'):
        joint(weights=[dict(instance=1), dict(semantic=1)])[0]
    with pytest.raises(ValueError, match='draws from a JointDataset, not from InstanceDataset'):
        DATA_SAMPLERS.build(dict(type='JointSampler', dataset=instance_set(tmp_path / 'instances')))
    other = dict(METAINFO, classes=(*METAINFO['classes'], 'cow'))
    sets = [
        instance_set(tmp_path / 'instances'),
        instance_set(tmp_path / 'instances', metainfo=other),
    ]
    with pytest.raises(
        ValueError, match=r'datasets\[1\] and datasets\[0\] differ in metainfo.classes'
    ):
        DATASETS.build(dict(type='JointDataset', datasets=sets))
