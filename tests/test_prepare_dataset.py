"""Preparing the datasets: results by independent references, killed runs, faults by name."""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
import zipfile
from pathlib import Path

import miniatures
import numpy as np
import pytest
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from mmdet.registry import DATASETS
from PIL import Image
from pycocotools.coco import COCO

from oneformer.preparation import PREPARATIONS

SPLITS = ('train', 'val')


@pytest.fixture
def make(tmp_path):
    """Write a miniature under a name of its own."""

    def write(dataset, name='raw'):
        root = tmp_path / name
        getattr(miniatures, f'write_{dataset}')(root)
        return root

    return write


@pytest.fixture
def prepare(run_tool):
    """Run the tool; returns what it printed."""

    def run(dataset, root, *arguments, workers=1):
        return run_tool(
            'prepare_dataset', dataset, '--data-root', root, '--workers', workers, *arguments
        )

    return run


def tree(root):
    """Content of all files below a folder, hidden ones too, by relative path."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob('*') if p.is_file()}


def read_ids(path):
    """Segment ids (H, W) of a panoptic PNG."""
    return np.asarray(Image.open(path)).astype(int) @ [1, 256, 65536]


def failure(function, *arguments):
    """The message with which the tool ends; its exit code is then 1."""
    with pytest.raises(SystemExit) as end:
        function(*arguments)
    return str(end.value.code)


# ADE20K


@pytest.fixture
def official(root_dir):
    """The official class lists."""
    return json.loads((root_dir / 'tests/data/official_classes.json').read_text())


def test_ade20k_paints_instances_over_stuff_and_measures_before(make, prepare, official):
    root = make('ade20k')
    prepare('ade20k', root)
    is_thing = [entry['isthing'] for entry in official['ade20k']]
    things = [entry['panoptic_label'] for entry in official['ade20k_instance']]
    for split, folder in zip(SPLITS, ('training', 'validation')):
        panoptic = json.loads((root / f'ade20k_panoptic_{split}.json').read_text())
        assert [(c['id'], c['name'], c['isthing']) for c in panoptic['categories']] == [
            (entry['label'], entry['name'], entry['isthing']) for entry in official['ade20k']
        ]
        names = sorted(path.stem for path in (root / 'images' / folder).iterdir())
        assert [annotation['image_id'] for annotation in panoptic['annotations']] == names
        for image, annotation in zip(panoptic['images'], panoptic['annotations']):
            name = annotation['image_id']
            semantic = np.asarray(Image.open(root / f'annotations/{folder}/{name}.png'))
            instances = np.asarray(Image.open(root / f'annotations_instance/{folder}/{name}.png'))
            ids = read_ids(root / f'ade20k_panoptic_{split}' / annotation['file_name'])
            assert (image['id'], image['file_name']) == (name, f'{name}.jpg')
            assert (image['height'], image['width']) == ids.shape == semantic.shape
            category = {s['id']: s['category_id'] for s in annotation['segments_info']}
            # the pixels of each segment, before and after painting, one by one
            before, after = {}, {}
            for y, x in np.ndindex(*ids.shape):
                label, (position, number, _) = int(semantic[y, x]) - 1, instances[y, x].tolist()
                if label >= 0 and not is_thing[label]:
                    before.setdefault((label, 0), []).append((y, x))
                if number:
                    before.setdefault((things[position - 1], number), []).append((y, x))
                expected = None  # void
                if number:
                    expected = things[position - 1], number
                elif label >= 0 and not is_thing[label]:
                    expected = label, 0
                after.setdefault(int(ids[y, x]), set()).add(expected)
            assert after.pop(0) == {None}
            owners = {i: owner.pop() for i, owner in after.items() if len(owner) == 1}
            assert len(owners) == len(after), 'an id covers more than one segment'
            assert len(set(owners.values())) == len(owners), 'a segment has two ids'
            assert {i: category[i] for i in owners} == {i: o[0] for i, o in owners.items()}
            listed = []
            for segment in annotation['segments_info']:
                assert segment['iscrowd'] == 0
                number = owners.get(segment['id'], (None, 0))[1]  # covered stuff has no pixels
                pixels = before[segment['category_id'], number]
                top, left = np.min(pixels, 0).tolist()
                bottom, right = np.max(pixels, 0).tolist()
                assert segment['area'] == len(pixels)
                assert segment['bbox'] == [left, top, right - left + 1, bottom - top + 1]
                listed.append((segment['category_id'], number))
            assert sorted(listed) == sorted(before)


def test_ade20k_lists_stuff_that_is_covered_completely(make, prepare, official):
    root = make('ade20k')
    prepare('ade20k', root, '--splits', 'train')
    annotation = json.loads((root / 'ade20k_panoptic_train.json').read_text())['annotations'][0]
    ids = read_ids(root / 'ade20k_panoptic_train' / annotation['file_name'])
    hidden = [s for s in annotation['segments_info'] if not (ids == s['id']).any()]
    assert [official['ade20k'][s['category_id']]['name'] for s in hidden] == ['rug']
    assert hidden[0]['area'] > 0
    assert not (root / 'ade20k_panoptic_val.json').exists()


def test_ade20k_files_load_as_a_data_set(make, prepare):
    root = make('ade20k')
    prepare('ade20k', root)
    dataset = DATASETS.build(
        dict(
            type='PanopticDataset',
            metainfo='ade20k',
            data_root=str(root),
            ann_file='ade20k_panoptic_val.json',
            data_prefix=dict(img='images/validation', seg='ade20k_panoptic_val'),
        )
    )
    assert len(dataset) == 3
    street = dataset.get_data_info(0)
    assert {s['category'] for s in street['segments_info'] if s['isthing']} == {'person', 'car'}
    assert not any(segment['isthing'] for segment in dataset.get_data_info(1)['segments_info'])
    assert all(Path(dataset.get_data_info(i)['seg_map_path']).exists() for i in range(3))


def test_ade20k_instances_are_those_of_the_raw_map(make, prepare, official):
    root = make('ade20k')
    prepare('ade20k', root)
    coco = COCO(root / 'ade20k_instance_train.json')
    things = [entry['panoptic_label'] for entry in official['ade20k_instance']]
    assert [(c['id'], c['name']) for c in coco.dataset['categories']] == [
        (label, official['ade20k'][label]['name']) for label in things
    ]
    assert sorted(coco.anns) == list(range(1, len(coco.anns) + 1))
    for image_id in coco.getImgIds():
        raw = np.asarray(Image.open(root / f'annotations_instance/training/{image_id}.png'))
        expected = [
            (things[raw[raw[..., 1] == number][0, 0] - 1], raw[..., 1] == number)
            for number in range(1, raw[..., 1].max() + 1)
        ]
        found = coco.imgToAnns[image_id]
        assert len(found) == len(expected)
        for annotation, (label, mask) in zip(found, expected):
            assert annotation['category_id'] == label
            assert (coco.annToMask(annotation) == mask).all()
            assert annotation['area'] == mask.sum()
    assert any(not coco.imgToAnns[image_id] for image_id in coco.getImgIds())


# Cityscapes


def test_cityscapes_equals_one_call_of_cityscapesscripts(make, prepare):
    root, reference = make('cityscapes'), make('cityscapes', 'reference')
    prepare('cityscapes', root, workers=2)
    convert2panoptic(str(reference / 'gtFine'), setNames=SPLITS)
    assert tree(root) == tree(reference)


# COCO


def reference_instances(root, split):
    """Things of the panoptic files, in a plain loop over pixels."""
    panoptic = json.loads((root / f'annotations/panoptic_{split}2017.json').read_text())
    things = {c['id'] for c in panoptic['categories'] if c['isthing']}
    records = []
    for annotation in panoptic['annotations']:
        ids = read_ids(root / f'annotations/panoptic_{split}2017' / annotation['file_name'])
        for segment in annotation['segments_info']:
            if segment['category_id'] in things:
                mask = ids == segment['id']
                rest = [segment[key] for key in ('category_id', 'iscrowd', 'area', 'bbox')]
                records.append((annotation['image_id'], mask.tolist(), *rest))
    return records


def test_coco_instances_are_the_things_of_the_panoptic_files(make, prepare):
    root = make('coco')
    prepare('coco', root)
    for split in SPLITS:
        coco = COCO(root / f'annotations/panoptic2instances_{split}2017.json')
        assert list(coco.anns) == list(range(1, len(coco.anns) + 1))
        found = [
            (a['image_id'], coco.annToMask(a).astype(bool).tolist())
            + tuple(a[key] for key in ('category_id', 'iscrowd', 'area', 'bbox'))
            for a in coco.anns.values()
        ]
        assert found == reference_instances(root, split)
        assert any(record[3] for record in found), 'no crowd in the miniature'
        panoptic = json.loads((root / f'annotations/panoptic_{split}2017.json').read_text())
        assert coco.dataset['images'] == panoptic['images']
        assert coco.dataset['categories'] == panoptic['categories'][:80]


def test_coco_pngs_are_unpacked_from_the_inner_archive_and_nothing_else_is(make, prepare):
    root, packed = make('coco'), make('coco', 'packed')
    for split in SPLITS:
        folder = packed / f'annotations/panoptic_{split}2017'
        with zipfile.ZipFile(folder.with_suffix('.zip'), 'w') as archive:
            for path in folder.iterdir():
                archive.write(path, f'{folder.name}/{path.name}')
                archive.write(path, f'__MACOSX/{folder.name}/._{path.name}')
            archive.writestr('../outside.png', b'')
            archive.writestr(f'{folder.name}/unknown.txt', b'')
        shutil.rmtree(folder)
    prepare('coco', root)
    prepare('coco', packed, workers=2)
    files = tree(packed)
    assert files.pop('annotations/panoptic_train2017.zip')
    assert files.pop('annotations/panoptic_val2017.zip')
    assert files == tree(root)


# Mapillary Vistas


def test_a_complete_mapillary_download_is_left_as_it_is(make, prepare):
    root = make('mapillary')
    before = tree(root)
    assert 'val: 3 images, 3 annotations, 16 segments' in prepare('mapillary', root)
    assert tree(root) == before


def test_the_layout_of_vistas_2_is_told_where_its_labels_belong(make, prepare):
    root = make('mapillary')
    (root / 'training/v1.2').mkdir()
    for kind in ('labels', 'instances', 'panoptic'):
        (root / 'training' / kind).rename(root / 'training/v1.2' / kind)
    message = failure(prepare, 'mapillary', root)
    assert f'move everything in {root}/training/v1.2 to {root}/training' in message


# Killed and repeated runs


def start_tool(load_tool, *arguments):
    """The tool in a process group of its own, without importing the stack again."""

    def main():
        os.setsid()
        sys.argv = ['prepare_dataset.py', *map(str, arguments)]
        load_tool('prepare_dataset').main()

    process = multiprocessing.get_context('fork').Process(target=main)
    process.start()
    return process


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, 'the tool did not get there'
        time.sleep(0.02)


@pytest.mark.parametrize(
    'dataset, stuck, parts, outputs',
    [
        (
            'ade20k',
            'annotations_instance/training/ADE_train_00000002.png',
            '.ade20k_panoptic_train.parts',
            'ade20k_panoptic_train',
        ),
        (
            'cityscapes',
            'gtFine/train/aachen/aachen_000001_000019_gtFine_instanceIds.png',
            'gtFine/.cityscapes_panoptic_train.parts',
            'gtFine/cityscapes_panoptic_train',
        ),
        (
            'coco',
            'annotations/panoptic_train2017/000000000174.png',
            'annotations/.panoptic2instances_train2017.parts',
            None,
        ),
    ],
)
def test_a_killed_run_goes_on_and_ends_with_the_bytes_of_an_undisturbed_one(
    make, prepare, load_tool, dataset, stuck, parts, outputs
):
    undisturbed, root = make(dataset, 'undisturbed'), make(dataset)
    raw = set(tree(root))
    prepare(dataset, undisturbed)
    images = 3 if dataset == 'cityscapes' else 4
    # a pipe in place of a file: who reads it waits, and the run is midway for as long as we like
    content = (root / stuck).read_bytes()
    (root / stuck).unlink()
    os.mkfifo(root / stuck)

    process = start_tool(load_tool, dataset, '--data-root', root, '--workers', 2)
    wait_for(lambda: len(list((root / parts).glob('[!.]*.json'))) == images - 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()

    (root / stuck).unlink()
    expected = tree(undisturbed)
    for name in set(tree(root)) - raw:
        assert name.startswith(parts) or tree(root)[name] == expected[name]
        assert not name.endswith('.json') or name.startswith(parts)
    (root / stuck).write_bytes(content)
    (root / parts / '.half.png.1.tmp').write_bytes(b'what a kill within a write leaves')
    done = {path: path.stat().st_ino for path in (root / outputs).iterdir()} if outputs else {}
    assert len(done) == (images - 1 if outputs else 0)
    said = prepare(dataset, root)
    assert f'train: 1 of {images} images to prepare' in said
    assert tree(root) == expected
    assert {path: path.stat().st_ino for path in done} == done, 'finished PNGs were written again'


def test_workers_leave_when_only_their_parent_is_killed(make, load_tool):
    root = make('ade20k')
    stuck = root / 'annotations_instance/training/ADE_train_00000001.png'
    stuck.unlink()
    os.mkfifo(stuck)
    reading, writing = os.pipe()
    process = start_tool(load_tool, 'ade20k', '--data-root', root, '--workers', 2)
    os.close(writing)
    wait_for(lambda: len(list(root.glob('.*.parts/[!.]*.json'))) == 3)
    process.kill()
    process.join()
    # the end of the pipe comes when the last process that inherited its other end is gone
    assert os.read(reading, 1) == b''
    os.close(reading)


@pytest.mark.parametrize('dataset', ['ade20k', 'cityscapes', 'coco'])
def test_a_second_run_changes_nothing_and_says_so(make, prepare, dataset):
    root = make(dataset)
    prepare(dataset, root)
    times = {path: path.stat().st_mtime_ns for path in root.rglob('*')}
    said = prepare(dataset, root)
    assert said.count('complete already') == 2
    assert 'to prepare' not in said
    assert {path: path.stat().st_mtime_ns for path in root.rglob('*')} == times


def test_what_was_lost_or_belongs_to_other_images_is_built_anew(make, prepare):
    root = make('ade20k')
    prepare('ade20k', root)
    expected = tree(root)
    (root / 'ade20k_panoptic_val/ADE_val_00000002.png').unlink()
    stale = json.loads((root / 'ade20k_panoptic_train.json').read_text())
    stale['images'].pop()
    (root / 'ade20k_panoptic_train.json').write_text(json.dumps(stale))
    prepare('ade20k', root)
    assert tree(root) == expected


# Faults


@pytest.mark.parametrize(
    'dataset, lost, message',
    [
        ('ade20k', 'annotations_instance/training', 'annotations_instance.tar'),
        ('ade20k', 'images/validation', 'ADEChallengeData2016.zip'),
        ('cityscapes', 'leftImg8bit/val', 'leftImg8bit_trainvaltest.zip'),
        ('cityscapes', 'gtFine/train', 'gtFine_trainvaltest.zip'),
        ('coco', 'train2017', 'train2017.zip'),
        ('coco', 'annotations/panoptic_val2017', 'panoptic_annotations_trainval2017.zip'),
        ('coco', 'annotations/panoptic_val2017.json', 'panoptic_annotations_trainval2017.zip'),
        ('mapillary', 'validation/instances', 'Vistas v1.2'),
        ('mapillary', 'training/panoptic/panoptic_2018.json', 'Vistas v1.2'),
    ],
)
def test_what_is_missing_is_named_with_its_source_and_nothing_is_written(
    make, prepare, dataset, lost, message
):
    root = make(dataset)
    path = root / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = set(root.rglob('*'))
    said = failure(prepare, dataset, root)
    assert lost in said and message in said
    assert set(root.rglob('*')) == before


@pytest.mark.parametrize(
    'dataset, lost, named',
    [
        ('ade20k', 'annotations/training/ADE_train_00000003.png', 'ADE_train_00000003'),
        ('ade20k', 'images/training/ADE_train_00000003.jpg', 'ADE_train_00000003'),
        (
            'cityscapes',
            'gtFine/val/munster/munster_000001_000019_gtFine_labelIds.png',
            'munster_000001_000019',
        ),
        (
            'cityscapes',
            'leftImg8bit/val/munster/munster_000001_000019_leftImg8bit.png',
            'munster_000001_000019',
        ),
        ('coco', 'val2017/000000000074.jpg', '000000000074.jpg'),
        ('coco', 'annotations/panoptic_val2017/000000000074.png', '000000000074.png'),
        ('mapillary', 'training/images/t2rOcAH8vcNXJqmFT-UkA_.jpg', 't2rOcAH8vcNXJqmFT-UkA_'),
        ('mapillary', 'training/labels/t2rOcAH8vcNXJqmFT-UkA_.png', 't2rOcAH8vcNXJqmFT-UkA_'),
    ],
)
def test_an_image_without_annotation_or_the_reverse_is_named(make, prepare, dataset, lost, named):
    root = make(dataset)
    (root / lost).unlink()
    before = set(root.rglob('*'))
    said = failure(prepare, dataset, root)
    assert 'no counterpart' in said and named in said
    assert set(root.rglob('*')) == before


@pytest.mark.parametrize(
    'dataset, damaged',
    [
        (
            'ade20k',
            [
                'annotations/training/ADE_train_00000001.png',
                'annotations_instance/training/ADE_train_00000002.png',
                'images/training/ADE_train_00000004.jpg',
            ],
        ),
        ('cityscapes', ['gtFine/train/bochum/bochum_000002_000019_gtFine_instanceIds.png']),
        ('cityscapes', ['gtFine/train/bochum/bochum_000002_000019_gtFine_labelIds.png']),
        ('coco', ['annotations/panoptic_train2017/000000000174.png', 'train2017/000000000211.jpg']),
        ('mapillary', ['training/panoptic/t2rOcAH8vcNXJqmFT-UkA_.png']),
    ],
)
def test_all_damaged_files_are_named_and_replacing_them_is_enough(make, prepare, dataset, damaged):
    undisturbed, root = make(dataset, 'undisturbed'), make(dataset)
    prepare(dataset, undisturbed)
    for name in damaged:
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: len(content) // 2])
    said = failure(prepare, dataset, root)
    assert all(str(root / name) in said for name in damaged)
    assert f'{len(damaged)} images cannot be used' in said
    for name in damaged:
        shutil.copy(undisturbed / name, root / name)
    prepare(dataset, root)
    assert tree(root) == tree(undisturbed)


def test_files_of_different_size_and_impossible_values_are_named(make, prepare):
    root = make('ade20k')
    folder = root / 'annotations_instance/training'
    smaller, strange = folder / 'ADE_train_00000001.png', folder / 'ADE_train_00000002.png'
    Image.new('RGB', (60, 50)).save(smaller)
    instances = np.array(Image.open(strange))
    instances[0, 0] = 101, 1, 0  # a class of its own in instance 1, and beyond the last
    Image.fromarray(instances).save(strange)
    said = failure(prepare, 'ade20k', root)
    assert f'{smaller} has (height, width) (50, 60)' in said
    assert f'{strange}: instance 1 has the classes [4, 101]' in said


def test_counts_that_differ_from_the_official_ones_are_a_warning(
    make, load_tool, monkeypatch, capsys
):
    official = {name: made.official_counts for name, made in PREPARATIONS.items()}
    assert official == dict(
        ade20k=dict(train=20210, val=2000),
        cityscapes=dict(train=2975, val=500),
        coco=dict(train=118287, val=5000),
        mapillary=dict(train=18000, val=2000),
    )
    monkeypatch.setattr(PREPARATIONS['mapillary'], 'official_counts', dict(train=3, val=4))
    root = make('mapillary')
    monkeypatch.setattr('sys.argv', ['prepare_dataset.py', 'mapillary', '--data-root', str(root)])
    load_tool('prepare_dataset').main()
    warnings = [line for line in capsys.readouterr().err.splitlines() if 'WARNING' in line]
    assert len(warnings) == 1
    assert 'val has 3 images, but the official dataset has 4' in warnings[0]
