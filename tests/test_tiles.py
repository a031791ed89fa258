"""Tiles are windows of annotated images, found again by their pixels."""

import json
import shutil

import cv2
import numpy as np
import pytest

from oneformer.quickstart.scenes import generate
from oneformer.studies.tiles import cut_tiles

SIZE, LEAST = 56, 2


@pytest.fixture(scope='module')
def whole_set(tmp_path_factory):
    root = tmp_path_factory.mktemp('images') / 'set'
    generate(root, train=5, val=3, size=96)
    return root


@pytest.fixture(scope='module')
def tiles(whole_set):
    out = whole_set.parent / 'tiles'
    cut_tiles(whole_set, out, train=8, val=4, size=SIZE, least=LEAST)
    return out


def samples(root, split):
    """Image, segment ids and segments by file name; categories."""
    content = json.loads((root / f'panoptic_{split}.json').read_text())
    names = {image['id']: image['file_name'] for image in content['images']}
    found = {}
    for annotation in content['annotations']:
        name = names[annotation['image_id']]
        png = cv2.imread(str(root / f'panoptic_{split}' / annotation['file_name']))
        ids = png[..., 2] + 256 * png[..., 1].astype(int) + 65536 * png[..., 0].astype(int)
        image = cv2.imread(str(root / split / name))
        found[name] = image, ids, annotation['segments_info']
    return found, content['categories']


def find_window(tile, images):
    """Where a tile is from: name of the image and its corner; the other images are unlike it."""
    errors = {}
    for name, (image, _, _) in images.items():
        error = cv2.matchTemplate(image, tile, cv2.TM_SQDIFF) / tile.size
        errors[name] = error.min(), np.unravel_index(error.argmin(), error.shape)
    name, other = sorted(errors, key=lambda name: errors[name][0])[:2]
    # not 0, since JPEG was applied once more
    assert errors[name][0] < errors[other][0] / 10, 'it is of no image'
    return name, errors[name][1]


@pytest.mark.parametrize('split', ('train', 'val'))
def test_a_tile_has_the_labels_of_its_window(whole_set, tiles, split):
    images, categories = samples(whole_set, split)
    isthing = {c['id']: c['isthing'] for c in categories}
    cut, own_categories = samples(tiles, split)
    assert own_categories == categories and len(cut) == dict(train=8, val=4)[split]
    slivers = 0
    for tile, ids, segments in cut.values():
        assert tile.shape[:2] == ids.shape == (SIZE, SIZE)
        name, (top, left) = find_window(tile, images)
        _, whole_ids, whole_segments = images[name]
        expected = np.zeros(ids.shape, int)  # the category + 100 times the place in the list
        for i, segment in enumerate(whole_segments, 1):
            mask = whole_ids == segment['id']
            part = mask[top : top + SIZE, left : left + SIZE]
            least = 0.25 * mask.sum() if isthing[segment['category_id']] else 0
            if part.sum() >= max(12, least):
                expected[part] = segment['category_id'] + 100 * i
            else:
                slivers += bool(part.any())
        found = np.zeros(ids.shape, int)
        for segment in segments:
            mask = ids == segment['id']
            assert mask.sum() == segment['area']
            values = np.unique(expected[mask])
            assert len(values) == 1 and values[0] % 100 == segment['category_id']
            found[mask] = values[0]
        assert (found == expected).all()
    assert split == 'val' or slivers, 'the rule about slivers was not tried'


def count_objects(root):
    cut, categories = samples(root, 'train')
    things = {c['id'] for c in categories if c['isthing']}
    return [
        sum(s['category_id'] in things and not s['iscrowd'] for s in segments)
        for _, _, segments in cut.values()
    ]


def test_tiles_have_as_many_objects_as_asked_if_there_are_such(whole_set, tiles, tmp_path):
    assert min(count_objects(tiles)) >= LEAST
    cut_tiles(whole_set, tmp_path / 'many', train=3, val=1, size=SIZE, least=1000)
    assert len(count_objects(tmp_path / 'many')) == 3


def test_finished_tiles_are_kept_and_others_are_refused(whole_set, tiles, capsys, tmp_path):
    cut_tiles(whole_set, tiles, train=8, val=4, size=SIZE, least=LEAST)
    assert 'already holds this set' in capsys.readouterr().out
    with pytest.raises(FileExistsError, match='is not the set asked for'):
        cut_tiles(whole_set, tiles, train=9, val=4, size=SIZE, least=LEAST)
    shutil.copytree(whole_set, tmp_path / 'set')
    labels = tmp_path / 'set/panoptic_val.json'
    labels.write_text(labels.read_text() + ' ')
    with pytest.raises(FileExistsError, match='is not the set asked for'):
        cut_tiles(tmp_path / 'set', tiles, train=8, val=4, size=SIZE, least=LEAST)
    with pytest.raises(FileNotFoundError, match='panoptic_train.json'):
        cut_tiles(tmp_path / 'none', tmp_path / 'out', train=1, val=1)
    assert not (tmp_path / 'out').exists()
