"""The generator of the quick start's dataset: files that agree, and scenes that hold surprises."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from oneformer.commands import demo_data
from oneformer.quickstart import lookalikes, toys
from oneformer.quickstart import scenes as quickstart

# of the segment ids of that set, as version 1 drew them
DIGEST = 'e14241d6b6418afbc341798435604d3f3ff620cf3d28be9309136e2021fc54d8'
SMALL = {'train': 6, 'val': 4, 'size': 96}
IS_THING = {category['id']: category['isthing'] for category in toys.CATEGORIES}


def files_of(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()
    }


@pytest.fixture(scope='module')
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp('quickstart') / 'set'
    quickstart.generate(folder, **SMALL, workers=2)
    return folder


@pytest.fixture(scope='module')
def scenes():
    """150 scenes of size 64: (image, ids, segments_info)."""
    return [quickstart.draw_scene(np.random.default_rng(index), 64) for index in range(150)]


@pytest.mark.parametrize('split, count', [('train', 6), ('val', 4)])
def test_json_describes_exactly_the_segments_of_each_png(small_set, split, count):
    panoptic = json.loads((small_set / f'panoptic_{split}.json').read_text())
    assert len(panoptic['images']) == len(panoptic['annotations']) == count
    images = {image['id']: image for image in panoptic['images']}
    for annotation in panoptic['annotations']:
        image = images.pop(annotation['image_id'])
        pixels = cv2.imread(str(small_set / split / image['file_name']))
        png = cv2.imread(str(small_set / f'panoptic_{split}' / annotation['file_name']))
        assert pixels.shape == png.shape == (image['height'], image['width'], 3)
        ids = png[..., ::-1] @ np.array([1, 256, 65536])
        assert max(segment['id'] for segment in annotation['segments_info']) > 65535
        listed = [segment['id'] for segment in annotation['segments_info']]
        assert sorted(listed) == sorted(set(ids.flat) - {0})
        for segment in annotation['segments_info']:
            y, x = np.nonzero(ids == segment['id'])
            assert segment['area'] == len(y)
            left, top = x.min(), y.min()
            assert segment['bbox'] == [left, top, x.max() - left + 1, y.max() - top + 1]
            assert segment['category_id'] in IS_THING


def test_number_of_workers_leaves_every_byte_and_seed_does_not(small_set, tmp_path):
    quickstart.generate(tmp_path / 'one', **SMALL, workers=1)
    quickstart.generate(tmp_path / 'other', **SMALL, seed=1)
    files, other = files_of(small_set), files_of(tmp_path / 'other')
    assert len(files) == 2 * (6 + 4) + 2
    assert files_of(tmp_path / 'one') == files
    assert len({*files.values(), *other.values()}) == 2 * len(files)


def test_scenes_cover_crowds_void_no_things_and_all_shapes(scenes):
    crowds = [any(segment['iscrowd'] for segment in segments) for _, _, segments in scenes]
    things = [
        sum(IS_THING[segment['category_id']] > segment['iscrowd'] for segment in segments)
        for _, _, segments in scenes
    ]
    assert 0.04 < np.mean(crowds) < 0.2
    assert 0.01 < np.mean(np.equal(things, 0)) < 0.12
    assert max(things) == 5
    assert 0.01 < np.mean([(ids == 0).mean() for _, ids, _ in scenes]) < 0.03
    assert {image.shape[:2] for image, _, _ in scenes} == {(64, 64), (51, 80), (80, 64)}
    assert {segment['category_id'] for _, _, segments in scenes for segment in segments} == set(
        IS_THING
    )


def test_objects_below_the_smallest_area_are_not_drawn_and_stuff_below_it_is_void(monkeypatch):
    monkeypatch.setattr(quickstart, 'MIN_AREA', 0.15)
    for seed in range(40):
        _, _, segments = quickstart.draw_scene(np.random.default_rng(seed), 64)
        assert all(segment['area'] >= 0.15 * 64**2 for segment in segments)
        rng, light = np.random.default_rng(seed), (0.6, 0, 0.8)
        layers = quickstart.draw_layers(rng, (64, 64), 64, light, toys.WORLD)
        assert all((layer.opacity > 0.5).sum() >= 0.15 * 64**2 for layer in layers)


def test_every_drawn_object_shows_at_least_a_third_of_itself_and_some_are_partly_hidden():
    shares = []
    for seed in range(60):
        covered = np.zeros((96, 96), bool)
        rng = np.random.default_rng(seed)
        light = (0.6, 0, 0.8)
        layers = quickstart.draw_layers(rng, covered.shape, 96, light, toys.WORLD)
        for layer in reversed(layers):
            mask = layer.opacity > 0.5
            shares.append((mask & ~covered).sum() / layer.area)
            covered |= mask
    assert 0.35 <= min(shares) < 0.6


def test_masks_lie_on_the_drawn_objects(monkeypatch):
    """Magenta things are found again by their hue, in the pixels of their masks."""

    def paint_magenta(rng, v, u):
        return np.full((*v.shape, 3), (0.8, 0, 0.8), np.float32)

    for name, (group, color, _, *outline) in toys.THINGS.items():
        monkeypatch.setitem(toys.THINGS, name, (group, color, paint_magenta, *outline))
    shared = either = 0
    for seed in range(10):
        image, ids, segments = quickstart.draw_scene(np.random.default_rng(seed), 160)
        things = [segment['id'] for segment in segments if IS_THING[segment['category_id']]]
        masks = np.isin(ids, things)
        red, green, blue = np.moveaxis(image.astype(int), -1, 0)
        magenta = np.minimum(red, blue) - green > 40
        shared += (masks & magenta).sum()
        either += (masks | magenta).sum()
    assert shared > 0.95 * either > 0


def test_same_set_is_reused_and_any_other_content_is_refused(small_set):
    def written_at():
        return {path: path.stat().st_mtime_ns for path in small_set.rglob('*')}

    before = written_at()
    quickstart.generate(small_set, **SMALL)
    with pytest.raises(FileExistsError):
        quickstart.generate(small_set, **SMALL, seed=1)
    assert written_at() == before


def test_foreign_folder_is_refused_by_name_and_left_untouched(tmp_path, monkeypatch):
    foreign = tmp_path / 'images'
    foreign.mkdir()
    (foreign / 'holiday.jpg').write_bytes(b'precious')
    with pytest.raises(SystemExit) as stop:
        demo_data.main([str(foreign), '--train', '1', '--val', '1'])
    assert str(foreign) in stop.value.code and 'delete it or choose another' in stop.value.code
    assert files_of(tmp_path) == {Path('images/holiday.jpg'): b'precious'}


def test_failure_half_way_leaves_nothing_behind(tmp_path, monkeypatch):
    draw_scene, drawn = quickstart.draw_scene, []

    def fail_at_third_scene(rng, size):
        drawn.append(size)
        if len(drawn) == 3:
            raise OSError('disk full')
        return draw_scene(rng, size)

    monkeypatch.setattr(quickstart, 'draw_scene', fail_at_third_scene)
    with pytest.raises(OSError, match='disk full'):
        quickstart.generate(tmp_path / 'set', **SMALL, workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope='module')
def street_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp('streets') / 'set'
    quickstart.generate(folder, train=3, val=1, scenes='streets', workers=2)
    return folder


def test_streets_have_small_things_of_all_classes_on_all_grounds(street_set):
    panoptic = json.loads((street_set / 'panoptic_train.json').read_text())
    names = {category['id']: category['name'] for category in panoptic['categories']}
    is_thing = {category['id']: category['isthing'] for category in panoptic['categories']}
    sides = {}
    for annotation in panoptic['annotations']:
        png = cv2.imread(str(street_set / 'panoptic_train' / annotation['file_name']))
        ids = png[..., ::-1] @ np.array([1, 256, 65536])
        listed = {segment['id']: segment for segment in annotation['segments_info']}
        assert sorted(listed) == sorted(set(ids.flat) - {0})
        for number, segment in listed.items():
            assert segment['area'] == (ids == number).sum()
            if is_thing[segment['category_id']]:
                name = names[segment['category_id']]
                sides.setdefault(name, []).append(segment['area'] ** 0.5)
    assert set(sides) == {'car', 'pedestrian', 'pole'}
    every = [side for of_class in sides.values() for side in of_class]
    assert min(every) >= 5.9 and max(every) <= 21 and 10 < np.median(every) < 16
    assert {names[s['category_id']] for s in annotation['segments_info']} >= {
        'sky',
        'building',
        'pavement',
        'road',
    }


def test_streets_depend_on_the_seed_alone_and_are_told_from_toys(street_set, tmp_path):
    quickstart.generate(tmp_path / 'one', train=3, val=1, scenes='streets', workers=1)
    assert files_of(tmp_path / 'one') == files_of(street_set)
    with pytest.raises(FileExistsError):
        quickstart.generate(street_set, train=3, val=1, size=480)
    with pytest.raises(
        ValueError, match="scenes is 'roads': it takes one of toys, lookalikes, streets"
    ):
        quickstart.generate(tmp_path / 'other', scenes='roads')


def test_lookalikes_come_in_pairs_and_a_scene_has_two_kinds_of_things(tmp_path):
    folder = tmp_path / 'set'
    quickstart.generate(folder, train=60, val=1, size=64, scenes='lookalikes')
    panoptic = json.loads((folder / 'panoptic_train.json').read_text())
    names = {category['id']: category['name'] for category in panoptic['categories']}
    seen = [
        [names[segment['category_id']] for segment in annotation['segments_info']]
        for annotation in panoptic['annotations']
    ]
    assert len(lookalikes.PAIRS) == 5 and set(names.values()) == {'sky'}.union(*lookalikes.PAIRS)
    assert {name for image in seen for name in image} == set(names.values())
    stuff = [pair for pair in lookalikes.PAIRS if pair[0] in lookalikes.WORLD.stuff]
    assert not any({*pair} <= {*image} for image in seen for pair in stuff)  # one of a pair
    things = [[name for name in image if name in lookalikes.WORLD.things] for image in seen]
    assert max(len({*names}) for names in things) == 2
    assert np.mean([len(names) > len({*names}) for names in things]) > 0.5  # instances to separate
    again = tmp_path / 'again'
    quickstart.generate(again, train=60, val=1, size=64, scenes='lookalikes', workers=1)
    assert files_of(again) == files_of(folder)


def test_toys_are_the_same_bytes_as_ever(small_set):
    """Sets that were made before are reused, and figures of the docs were measured on them."""
    digest = hashlib.sha256()
    for path in sorted(small_set.rglob('*.png')):
        ids = cv2.imread(str(path))
        digest.update(ids.tobytes())
    assert digest.hexdigest() == DIGEST
