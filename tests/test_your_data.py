"""The configs of docs/your_data.md, at most ten lines each, from labels to a scored model."""

import json

import miniatures
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as mask_utils

from oneformer.engine.testing import HEADLINE

CLASSES = ('cat', 'dog', 'grass', 'sky')
SMALL = [
    'train_cfg.max_iters=2',
    'model.backbone.pretrained=False',
    'train_dataloader.batch_size=2',
    'train_dataloader.dataset.pipeline.2.short_edges=[64]',
    'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
    'train_dataloader.dataset.pipeline.5.size=(64,64)',
    'test_dataloader.dataset.pipeline.1.short_edges=[64]',
    'model.criterion.num_points=64',
]
SIDE = 96


def draw(rng):
    """Segment ids of a scene of (H, W), and (id, label) of its segments."""
    ids = np.full((SIDE, SIDE), 40)
    ids[: SIDE // 2] = 50
    segments = [(40, 2), (50, 3)]
    for number in (1, 2, 3):
        top, left = rng.integers(0, SIDE - 32, 2)
        ids[top : top + 30, left : left + 30] = number
        segments.append((number, int(rng.integers(2))))
    ids[:4] = 0
    return ids, [(i, label) for i, label in segments if (ids == i).any()]


def write(folder, split, kind):
    """Six photos with labels of a kind, in the folders that the config of the kind names."""
    rng = np.random.default_rng(0)
    labels = folder / f'{split}_{dict(panoptic="segments", semantic="labels").get(kind, "none")}'
    for path in (folder / split, labels):
        path.mkdir(parents=True)
    content = dict(images=[], annotations=[])
    things = kind == 'instance'
    content['categories'] = [
        dict(id=i, name=name, isthing=int(i < 2))
        for i, name in enumerate(CLASSES[: 2 if things else 4])
    ]
    for number in range(1, 7):
        ids, segments = draw(rng)
        colors = rng.integers(0, 255, (64, 3))
        Image.fromarray(colors[ids].astype(np.uint8)).save(folder / split / f'{number}.jpg')
        content['images'].append(
            dict(id=number, file_name=f'{number}.jpg', height=SIDE, width=SIDE)
        )
        if kind == 'panoptic':
            png = np.stack([ids, ids * 0, ids * 0], -1)
            info = [dict(id=i, category_id=label) for i, label in segments]
            content['annotations'].append(
                dict(image_id=number, file_name=f'{number}.png', segments_info=info)
            )
        elif kind == 'semantic':
            png = np.full(ids.shape, 255)
            for i, label in segments:
                png[ids == i] = label
        else:
            for i, label in segments:
                if label > 1:
                    continue
                code = mask_utils.encode(np.asfortranarray(ids == i, np.uint8))
                content['annotations'].append(
                    dict(
                        id=len(content['annotations']) + 1,
                        image_id=number,
                        category_id=label,
                        iscrowd=0,
                        segmentation=dict(code, counts=code['counts'].decode()),
                    )
                )
            continue
        Image.fromarray(png.astype(np.uint8)).save(labels / f'{number}.png')
    if kind != 'semantic':
        (folder / f'{split}.json').write_text(json.dumps(content))


@pytest.mark.parametrize('kind', ['panoptic', 'instance', 'semantic'])
def test_ten_lines_lead_from_labels_to_a_scored_model(kind, tmp_path, config_dir, run_tool):
    config = config_dir / f'your_data/{kind}.py'
    assert len(config.read_text().splitlines()) <= 10
    for split in ('train', 'val'):
        write(tmp_path / 'data/mine', split, kind)
    run_tool('train', config, '--cfg-options', *SMALL)
    checkpoint = tmp_path / f'work_dirs/my_{kind}/iter_2.pth'
    run_tool('test', config, checkpoint, '--out-json', 'scores.json', '--cfg-options', *SMALL)
    scores = json.loads((tmp_path / 'scores.json').read_text())
    wanted = HEADLINE.values() if kind == 'panoptic' else [HEADLINE[kind]]
    assert {key for key in HEADLINE.values() if scores.get(key) is not None} == set(wanted)
    train = Config.fromfile(config).train_dataloader.dataset
    assert train.type == f'{kind.title()}Dataset'


@pytest.mark.parametrize(
    'base', ['r50_coco', 'swin-l_ade20k', 'swin-l_cityscapes', 'swin-l_mapillary']
)
@pytest.mark.parametrize('kind', ['panoptic', 'instance', 'semantic', 'mmseg'])
def test_the_lines_stay_as_they_are_over_another_base(kind, base, config_dir, tmp_path):
    lines = (config_dir / f'your_data/{kind}.py').read_text().splitlines()
    lines[0] = f"_base_ = '{config_dir / f'oneformer_{base}.py'}'"
    (tmp_path / 'mine.py').write_text('\n'.join(lines))
    cfg = Config.fromfile(tmp_path / 'mine.py')
    small = Config.fromfile(config_dir / f'your_data/{kind}.py')
    assert cfg.model.metainfo == small.model.metainfo
    assert cfg.test_evaluator == small.test_evaluator
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        ours, theirs = dict(cfg[loader].dataset), dict(small[loader].dataset)
        assert ours.pop('pipeline') != theirs.pop('pipeline')
        assert ours == theirs  # nothing is left of the base's data set


def test_a_data_set_of_mmsegmentation_trains(tmp_path, config_dir, run_tool):
    miniatures.write_ade20k(tmp_path / 'data/ADEChallengeData2016')
    config = config_dir / 'your_data/mmseg.py'
    run_tool('train', config, '--cfg-options', *SMALL)
    checkpoint = tmp_path / 'work_dirs/my_mmseg/iter_2.pth'
    printed = run_tool('test', config, checkpoint, '--cfg-options', *SMALL)
    assert 'semantic/mIoU: ' in printed


def test_the_best_checkpoint_is_kept_whatever_is_scored(tmp_path, config_dir, run_tool):
    for split in ('train', 'val'):
        write(tmp_path / 'data/mine', split, 'instance')
    shipped = Config.fromfile(config_dir / 'oneformer_r50_coco.py')
    validate = (
        'train_cfg.val_interval=1',
        'default_hooks.checkpoint.interval=1',
        f'default_hooks.checkpoint.save_best={shipped.default_hooks.checkpoint.save_best}',
    )
    run_tool('train', config_dir / 'your_data/instance.py', '--cfg-options', *SMALL, *validate)
    assert list((tmp_path / 'work_dirs/my_instance').glob('best_instance_AP_iter_*.pth'))


def test_the_page_shows_the_configs_as_they_are(root_dir):
    page = (root_dir / 'docs/your_data.md').read_text()
    for config in sorted((root_dir / 'configs/your_data').glob('*.py')):
        assert f'# configs/your_data/{config.name}\n{config.read_text()}```' in page, config.name
