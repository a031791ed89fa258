"""Loading panoptic annotation: labels by name, ids to segments, and clear errors."""

import gc
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.config import Config

from oneformer.datasets import PanopticDataset
from oneformer.datasets.categories import match_categories
from oneformer.datasets.geometry import resize_map
from oneformer.datasets.label_images import segment_indices
from oneformer.metainfo import KNOWN_DATASETS, resolve_metainfo
from oneformer.models.text_mapper import token_ids
from oneformer.tasks import Prompts

DATA = Path(__file__).parent / 'data'
METAINFO = dict(classes=('sky', 'cat'), thing_classes=('cat',))


def write_set(folder, segments_info, id_map, categories=None, size=None):
    """An image with a panoptic PNG and its JSON."""
    height, width = size or id_map.shape
    (folder / 'img').mkdir(parents=True)
    (folder / 'seg').mkdir()
    cv2.imwrite(str(folder / 'img/a.jpg'), np.full((height, width, 3), 90, np.uint8))
    rgb = np.stack([id_map % 256, id_map // 256 % 256, id_map // 65536], -1).astype(np.uint8)
    cv2.imwrite(str(folder / 'seg/a.png'), rgb[..., ::-1])
    content = dict(
        images=[dict(id=7, file_name='a.jpg', height=height, width=width)],
        annotations=[dict(image_id=7, file_name='a.png', segments_info=segments_info)],
        categories=categories
        or [dict(id=30, name='cat', isthing=1), dict(id=9, name='sky', isthing=0)],
    )
    (folder / 'a.json').write_text(json.dumps(content))


def build(folder, **kwargs):
    config = dict(
        type='PanopticDataset',
        metainfo=METAINFO,
        data_root=str(folder),
        ann_file='a.json',
        data_prefix=dict(img='img', seg='seg'),
        pipeline=[
            dict(type='LoadPhoto'),
            dict(type='LoadSegmentMap'),
            dict(type='PackSegmentInputs'),
        ],
    )
    return DATASETS.build({**config, **kwargs})


ID_MAP = np.array([[5, 5, 0], [70000, 70000, 300]])
SEGMENTS = [
    dict(id=5, category_id=30, iscrowd=0),
    dict(id=300, category_id=30, iscrowd=1),
    dict(id=70000, category_id=9),
]


def test_a_sample_carries_segments_by_position_and_labels_by_name(tmp_path):
    write_set(tmp_path, SEGMENTS, ID_MAP)
    sample = build(tmp_path)[0]['data_samples']
    assert sample.gt_panoptic_seg.sem_seg.tolist() == [[[1, 1, 0], [3, 3, 2]]]
    assert sample.segments_info == [
        dict(id=5, label=1, category='cat', isthing=True, iscrowd=False),
        dict(id=300, label=1, category='cat', isthing=True, iscrowd=True),
        dict(id=70000, label=0, category='sky', isthing=False, iscrowd=False),
    ]


@pytest.mark.parametrize('dataset', KNOWN_DATASETS)
def test_the_order_of_the_json_categories_does_not_matter(dataset):
    official = json.loads((DATA / 'official_classes.json').read_text())
    official = official[dict(mapillary='mapillary_vistas').get(dataset, dataset)]
    tokens = json.loads((DATA / 'official_tokens.json').read_text())
    metainfo = resolve_metainfo(dataset)
    categories = [
        dict(id=row['dataset_id'], name=row['name'], isthing=row['isthing']) for row in official
    ]
    np.random.default_rng(0).shuffle(categories)
    labels = match_categories(categories, metainfo, 'x.json')
    assert labels == {row['dataset_id']: row['label'] for row in official}
    for row in official:
        (prompt,) = Prompts().targets([labels[row['dataset_id']]], metainfo['classes'])
        assert list(token_ids(prompt)) == tokens[f'a photo with a {row["name"]}']


def test_the_collector_of_garbage_rests_while_labels_are_loaded(tmp_path, monkeypatch):
    write_set(tmp_path / 'good', SEGMENTS, ID_MAP)
    write_set(tmp_path / 'bad', [dict(id=5, category_id=77)], ID_MAP)
    load, collects = PanopticDataset.load_data_list, []

    def noted(dataset):
        collects.append(gc.isenabled())
        return load(dataset)

    monkeypatch.setattr(PanopticDataset, 'load_data_list', noted)
    build(tmp_path / 'good')
    assert gc.isenabled()
    with pytest.raises(ValueError, match='77'):
        build(tmp_path / 'bad')
    assert gc.isenabled() and collects == [False, False]
    gc.disable()
    try:
        build(tmp_path / 'good')
        assert not gc.isenabled()  # who turned it off decides when it goes on
    finally:
        gc.enable()


def test_names_of_other_files_of_ade20k_are_known():
    metainfo = resolve_metainfo('ade20k')
    # as mmdet's converter writes them
    renamed = [dict(id=1, name='airplane'), dict(id=2, name='window')]
    assert match_categories(renamed, metainfo, 'x.json') == {1: 90, 2: 8}
    # as its instance annotation calls them
    official = json.loads((DATA / 'official_classes.json').read_text())['ade20k_instance']
    categories = [dict(id=row['label'], name=row['name']) for row in official]
    assert match_categories(categories, metainfo, 'x.json') == {
        row['label']: row['panoptic_label'] for row in official
    }


def test_segments_of_a_category_that_is_left_out_are_void(tmp_path):
    write_set(tmp_path, SEGMENTS, ID_MAP)
    only_cats = dict(classes=('cat',), thing_classes=('cat',), aliases=dict(sky=None))
    sample = build(tmp_path, metainfo=only_cats)[0]['data_samples']
    assert sample.gt_panoptic_seg.sem_seg.tolist() == [[[1, 1, 0], [0, 0, 2]]]
    assert [segment['id'] for segment in sample.segments_info] == [5, 300]


def test_wrong_categories_are_named(tmp_path):
    write_set(tmp_path, [], ID_MAP * 0, categories=[dict(id=1, name='dog', isthing=1)])
    with pytest.raises(ValueError, match=r"a.json has categories .*\['dog'\]"):
        build(tmp_path)
    with pytest.raises(ValueError, match=r"disagree whether these are things: \['sky'\]"):
        match_categories([dict(id=1, name='sky', isthing=1)], METAINFO, 'a.json')
    with pytest.raises(ValueError, match="unknown dataset 'ade'"):
        resolve_metainfo('ade')
    with pytest.raises(ValueError, match=r"classes is the text 'cat': .*\('cat',\)"):
        resolve_metainfo(dict(classes=('cat'), thing_classes=()))
    with pytest.raises(ValueError, match=r'not (a class|classes): .*dog'):
        resolve_metainfo(dict(classes=('sky',), thing_classes=('dog',)))


def test_faulty_files_are_named(tmp_path):
    write_set(tmp_path / 'ids', SEGMENTS[1:], ID_MAP)
    with pytest.raises(ValueError, match=r'a\.png has 2 pixels of segment id 5'):
        build(tmp_path / 'ids')[0]
    write_set(tmp_path / 'size', SEGMENTS, ID_MAP, size=(4, 3))
    with pytest.raises(ValueError, match=r'a\.png has .*\(2, 3\), but image .*a\.jpg has \(4, 3\)'):
        build(tmp_path / 'size')[0]
    write_set(tmp_path / 'missing', SEGMENTS, ID_MAP)
    (tmp_path / 'missing/seg/a.png').unlink()
    with pytest.raises(
        FileNotFoundError, match=r'panoptic PNG of image .*a\.jpg, .*seg/a\.png does not'
    ):
        build(tmp_path / 'missing')[0]
    write_set(tmp_path / 'broken', SEGMENTS, ID_MAP)
    (tmp_path / 'broken/seg/a.png').write_bytes(b'no picture')
    with pytest.raises(ValueError, match=r'seg/a\.png is damaged'):
        build(tmp_path / 'broken')[0]


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_a_truncated_image_is_named_and_trailing_bytes_are_not_a_fault(tmp_path, suffix):
    load = TRANSFORMS.build(dict(type='LoadPhoto'))
    path = tmp_path / f'a.{suffix}'
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    cv2.imwrite(str(path), image)
    data = path.read_bytes()
    whole = load(dict(img_path=str(path)))['img']
    path.write_bytes(data + b'\0\0')
    np.testing.assert_array_equal(load(dict(img_path=str(path)))['img'], whole)
    for part in (data[: len(data) // 2], data[:-2], b''):
        path.write_bytes(part)
        with pytest.raises(
            ValueError, match=rf'image .*a\.{suffix} (is damaged|cannot be dec).*: replace'
        ):
            load(dict(img_path=str(path)))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf'image .*a\.{suffix} does not exist'):
        load(dict(img_path=str(path)))


def test_one_bad_map_does_not_spoil_the_table_for_the_next():
    png = np.zeros((1, 2, 3), np.uint8)
    png[0, :, 2] = (4, 5)  # red is the lowest byte
    assert segment_indices(png, [4]).tolist() == [[1, -1]]
    assert segment_indices(png, [9, 5]).tolist() == [[-1, 2]]


def test_maps_are_resized_at_pixel_centres_as_pillow_does():
    from PIL import Image

    seg_map = np.arange(7 * 9, dtype=np.uint8).reshape(7, 9)
    for size in ((14, 18), (3, 4), (10, 5), (7, 9)):
        expected = Image.fromarray(seg_map).resize(size[::-1], Image.NEAREST)
        np.testing.assert_array_equal(resize_map(seg_map, size), np.asarray(expected))


def test_resizing_keeps_the_long_edge_below_its_limit():
    resize = TRANSFORMS.build(dict(type='ResizeShortEdge', short_edges=[64], max_size=100))
    results = resize(dict(img=np.zeros((40, 50, 3), np.uint8), gt_seg_map=np.zeros((40, 50), 'i2')))
    assert results['img'].shape[:2] == results['gt_seg_map'].shape == (64, 80)
    results = resize(dict(img=np.zeros((40, 90, 3), np.uint8)))
    assert results['img'].shape[:2] == results['img_shape'] == (44, 100)


def test_large_scale_jitter_moves_image_and_map_together():
    np.random.seed(0)
    jitter = TRANSFORMS.build(dict(type='LargeScaleJitter', size=64))
    ramp = np.tile(np.arange(1, 91, dtype=np.int16), (50, 1))  # value = column + 1
    image = np.repeat(ramp[..., None], 3, -1).astype(np.uint8)
    padded = 0
    for _ in range(20):
        results = jitter(dict(img=image, gt_seg_map=ramp))
        assert results['img'].shape == (64, 64, 3) and results['gt_seg_map'].shape == (64, 64)
        inside = results['gt_seg_map'] > 0
        assert (results['img'][~inside] == 128).all()
        padded += (~inside).any()
        difference = results['img'][..., 0][inside].astype(int) - results['gt_seg_map'][inside]
        assert abs(difference).max() < 12
    assert 0 < padded < 20


def test_images_without_things_are_left_out_only_on_request(tmp_path):
    write_set(tmp_path, SEGMENTS[:1], np.where(ID_MAP == 5, 5, 0))
    content = json.loads((tmp_path / 'a.json').read_text())
    (only_crowd,) = content['annotations']
    only_crowd = {**only_crowd, 'image_id': 8, 'segments_info': [SEGMENTS[1]]}
    content['images'].append({**content['images'][0], 'id': 8})
    content['annotations'].append(only_crowd)
    (tmp_path / 'a.json').write_text(json.dumps(content))
    assert len(build(tmp_path)) == 2
    kept = build(tmp_path, filter_cfg=dict(without_things=True))
    assert [kept.get_data_info(i)['img_id'] for i in range(len(kept))] == [7]
    content['annotations'] = [only_crowd]
    (tmp_path / 'a.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='no image has a thing'):
        build(tmp_path, filter_cfg=dict(without_things=True))


def test_official_coco_annotation_loads_by_config_alone(config_dir, shared_dir):
    cfg = Config.fromfile(config_dir / 'oneformer_r50_coco.py')
    tiny = dict(
        data_root=str(shared_dir / 'data/coco_panoptic_tiny'),
        ann_file='panoptic_tiny.json',
        data_prefix=dict(img='images/', seg='panoptic/'),
    )
    annotation = json.loads((shared_dir / 'data/coco_panoptic_tiny/panoptic_tiny.json').read_text())
    areas = {
        (a['image_id'], s['id']): s['area']
        for a in annotation['annotations']
        for s in a['segments_info']
    }
    dataset = DATASETS.build({**cfg.val_dataloader.dataset, **tiny})
    assert len(dataset) == 4
    for sample in dataset:
        sample = sample['data_samples']
        counts = torch.bincount(sample.gt_panoptic_seg.sem_seg.flatten().int())[1:]
        expected = [areas[sample.img_id, segment['id']] for segment in sample.segments_info]
        assert counts.tolist() == expected
    train = DATASETS.build({**cfg.train_dataloader.dataset, **tiny})
    for sample in train:
        assert sample['inputs'].shape == (3, 1024, 1024)
        labels = sample['data_samples'].gt_instances.labels
        assert sample['data_samples'].gt_target_map.sem_seg.max() == len(labels)
        assert len(sample['data_samples'].texts) == len(labels)


@pytest.mark.parametrize('ids', [(0, 5), (5, 5), (-3, 5), (1 << 24, 5)])
def test_impossible_segment_ids_are_named(tmp_path, ids):
    write_set(tmp_path, [dict(id=i, category_id=30) for i in ids], ID_MAP)
    with pytest.raises(ValueError, match=r'image id 7 has segment ids \['):
        build(tmp_path)
