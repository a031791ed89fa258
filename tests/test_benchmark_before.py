"""The benchmark of two checkouts: equal samples are timed in turn, others stop it."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

CATEGORIES = [
    dict(id=1, name='nucleus-fluorescence', isthing=1),
    dict(id=2, name='nucleus-stained', isthing=1),
    dict(id=3, name='background-fluorescence', isthing=0),
    dict(id=4, name='background-histology', isthing=0),
]
SIDE = 48


@pytest.fixture
def nuclei(tmp_path):
    """Three images, each with two nuclei."""
    folder = tmp_path / 'nuclei'
    content = dict(images=[], annotations=[], categories=CATEGORIES)
    for part in ('train', 'panoptic_train'):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(1, 4):
        name = f'{number}.png'
        ids = np.full((SIDE, SIDE), 9, np.uint8)
        ids[4:20, 4:20], ids[30:40, 10:40] = 1, 2
        pixels = rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f'train/{name}')
        Image.fromarray(np.stack([ids, ids * 0, ids * 0], -1)).save(
            folder / f'panoptic_train/{name}'
        )
        content['images'].append(dict(id=number, file_name=name, height=SIDE, width=SIDE))
        segments = [
            dict(id=i, category_id=c, iscrowd=0, area=int((ids == i).sum()))
            for i, c in ((1, 1), (2, 1), (9, 3))
        ]
        content['annotations'].append(dict(image_id=number, file_name=name, segments_info=segments))
    (folder / 'panoptic_train.json').write_text(json.dumps(content))
    return folder


def arguments(nuclei, against):
    few = ('--images', 2, '--repeats', 1, '--threads', 1)
    return ('before', '--against', against, '--data-root', nuclei, *few)


def test_two_checkouts_are_timed_in_turn(run_tool, nuclei, root_dir, tmp_path):
    printed = run_tool('benchmark', *arguments(nuclei, root_dir), '--json', 'results.json')
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results.pop('machine') in printed
    names = [
        f'before/{kind}/{what}' for kind in ('panoptic', 'instance') for what in ('load', 'check')
    ]
    assert list(results) == [
        f'{name}{suffix}' for name in names for suffix in ('', '/seconds_ours', '/seconds_peer')
    ]
    for name in names:
        assert f'| {name} ' in printed
        quotient = results[f'{name}/seconds_peer'] / results[f'{name}/seconds_ours']
        assert results[name] == pytest.approx(quotient) and quotient > 0


def test_checkouts_that_load_other_samples_are_not_timed(run_tool, nuclei, root_dir, tmp_path):
    other, nothing = tmp_path / 'other', shutil.ignore_patterns('__pycache__')
    for part in ('projects', 'configs'):
        shutil.copytree(root_dir / part, other / part, ignore=nothing)
    config = other / 'configs/oneformer_efficientnet-lite0_nuclei.py'
    flips = "prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']"
    text = config.read_text()
    assert flips in text
    config.write_text(text.replace(flips, "prob=1.0, direction='diagonal'"))
    with pytest.raises(Exception, match='samples of instance labels: . of 2 differ') as error:
        run_tool('benchmark', *arguments(nuclei, other), '--labels', 'instance')
    assert type(error.value).__name__ == 'ResultsDiffer'
    (other / 'projects/oneformer/__init__.py').write_text('raise ValueError("a broken checkout")')
    with pytest.raises(RuntimeError, match='a broken checkout'):
        run_tool('benchmark', *arguments(nuclei, other))


def test_what_is_missing_is_named(run_tool, nuclei, root_dir, tmp_path):
    with pytest.raises(SystemExit, match='nothing is not a checkout: it has no folder projects/'):
        run_tool('benchmark', *arguments(nuclei, tmp_path / 'nothing'))
    with pytest.raises(SystemExit, match='no panoptic_train.json: .*--data-root.*ONEFORMER_SHARED'):
        run_tool('benchmark', *arguments(tmp_path, root_dir))
