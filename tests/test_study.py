"""The studies: their data, their trainings, and going on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_utils

from oneformer.studies import comparison
from oneformer.studies.partial_labels import split_labels
from oneformer.training.evaluate import HEADLINE

SMALL = ('--seeds', 1, '--images', 7, '--val-images', 2, '--max-iters', 2)


@pytest.fixture
def study(run_tool):
    return lambda: run_tool('study', 'partial-labels', *SMALL)


def test_a_study_trains_both_ways_and_goes_on_where_it_was(study, tmp_path):
    printed = study()
    assert '| alone | 1 |' in printed and '| joint | 1 |' in printed
    stored = json.loads((tmp_path / 'work_dirs/partial-labels.json').read_text())
    assert set(stored['runs']) == {'alone/seed0', 'joint/seed0'}
    again = study()
    assert 'training alone' not in again and 'training joint' not in again
    assert again.splitlines()[-4:] == printed.splitlines()[-4:]
    stored['settings']['images'] = 8
    (tmp_path / 'work_dirs/partial-labels.json').write_text(json.dumps(stored))
    with pytest.raises(SystemExit, match='is of other numbers of images or configs'):
        study()


def test_the_study_of_the_memory_trains_one_image_at_a_time(run_tool, tmp_path):
    printed = run_tool('study', 'contrastive-memory', *SMALL)
    assert '| without | 1 |' in printed and '| with | 1 |' in printed
    assert (tmp_path / 'work_dirs/contrastive-memory.md').read_text() in printed
    keys = {}
    for variant in ('without', 'with'):
        folder = tmp_path / f'work_dirs/contrastive-memory_{variant}/seed0'
        state = torch.load(folder / 'iter_2.pth', weights_only=False)['state_dict']
        keys[variant] = state.get('contrastive_loss.memory_keys')
    assert keys['without'] is None
    assert (keys['with'] >= 0).sum() == 2  # one image of each iteration


def test_the_study_of_vision_transformers_scores_every_task_under_every_token(
    run_tool, tmp_path, monkeypatch
):
    monkeypatch.setattr(comparison, 'REHEARSED', 1)
    sizes = ('--images', 8, '--val-images', 1, '--minutes', 1e-3)
    printed = run_tool('study', 'vit', *sizes)
    stored = json.loads((tmp_path / 'work_dirs/vit.json').read_text())
    variants = ('encoder-only', 'encoder-only-shared', 'decoder', 'efficientnet-lite0')
    assert stored['iterations'] == dict.fromkeys(variants, 1)  # none fits in
    for variant in variants:
        run = stored['runs'][f'{variant}/seed0']
        assert run['tokens'].keys() == {'panoptic', 'instance', 'semantic'}
        assert all('semantic/mIoU' in metrics for metrics in run['tokens'].values())
        for task, metric in HEADLINE.items():
            assert run[metric] == run['tokens'][task][metric]
        assert f'{variant}/seed0, {run["cpu_minutes"]:.1f} CPU minutes' in printed


def test_each_image_keeps_one_kind_of_its_labels(tiny_set, tmp_path):
    folder = tmp_path / 'set'
    folder.mkdir()
    for part in ('panoptic_train', 'panoptic_train.json'):
        (folder / part).symlink_to(tiny_set / part)
    known = ['ball', 'sky', 'grass']
    split_labels(folder, known)

    content = json.loads((tiny_set / 'panoptic_train.json').read_text())
    category_of = {c['id']: c for c in content['categories']}
    panoptic = json.loads((folder / 'panoptic_third.json').read_text())
    instance = json.loads((folder / 'instance_third.json').read_text())
    names = (folder / 'semantic_third.txt').read_text().split()
    assert len(panoptic['images']) + len(instance['images']) + len(names) == 16
    assert panoptic['annotations'] == content['annotations'][0::3]

    def ids_of(annotation):
        png = np.array(Image.open(folder / 'panoptic_train' / annotation['file_name']), int)
        return png[..., 0] + 256 * png[..., 1] + 65536 * png[..., 2]

    records = iter(instance['annotations'])
    for annotation in content['annotations'][1::3]:
        for segment in annotation['segments_info']:
            if category_of[segment['category_id']]['isthing']:
                record = next(records)
                assert record['category_id'] == segment['category_id']
                mask = mask_utils.decode(record['segmentation'])
                np.testing.assert_array_equal(mask, ids_of(annotation) == segment['id'])
    assert next(records, None) is None
    for annotation in content['annotations'][2::3]:
        stem = Path(annotation['file_name']).stem
        assert stem in names
        labels = np.array(Image.open(folder / f'semantic_train/{stem}.png'))
        ids = ids_of(annotation)
        for segment in annotation['segments_info']:
            name = category_of[segment['category_id']]['name']
            value = known.index(name) if name in known else 255
            assert (labels[ids == segment['id']] == value).all()
        assert (labels[ids == 0] == 255).all()
