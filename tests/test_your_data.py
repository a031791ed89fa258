"""The configs of docs/your_data.md: from labels to a scored model, by a few settings at the top."""

import json
from types import SimpleNamespace

import miniatures
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as mask_utils

from oneformer.commands.run_arguments import read_config
from oneformer.host.unread_settings import unread_settings
from oneformer.quickstart import scenes
from oneformer.training.evaluate import HEADLINE

CLASSES = ('cat', 'dog', 'grass', 'sky')
TINY = ['image_size=64', 'crop_size=64', 'batch_size=2', 'model.criterion.num_points=64']
SMALL = [*TINY, 'train_cfg.max_iters=2', 'model.backbone.pretrained=False']
SETTINGS = ['max_iters', 'image_size', 'crop_size', 'batch_size', 'val_interval', 'num_queries']
KINDS = ('panoptic', 'instance', 'semantic', 'mmseg')
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
    """Six images with labels of a kind, in the folders that the config of the kind names."""
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
def test_a_config_leads_from_labels_to_a_scored_model(kind, tmp_path, config_dir, run_tool):
    config = config_dir / f'your_data/{kind}.py'
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


def write_as_in(config, folder):
    """The labels that a config of these asks for."""
    if 'mmseg' in config.name:
        miniatures.write_ade20k(folder / 'data/ADEChallengeData2016')
        return
    for split in ('train', 'val'):
        write(folder / 'data/mine', split, config.stem.removesuffix('_gpu'))


@pytest.mark.parametrize('kind', KINDS)
def test_a_config_for_a_gpu_trains_and_keeps_the_best(kind, tmp_path, config_dir, run_tool):
    config = config_dir / f'your_data/{kind}_gpu.py'
    write_as_in(config, tmp_path)
    head = 'model.panoptic_head'
    small = [*TINY, 'max_iters=2', 'val_interval=2', 'num_queries=30']
    small += ['model.backbone.init_cfg=None', 'model.backbone.depth=18']
    small += [f'{head}.in_channels=[64,128,256,512]', f'{head}.transformer_decoder.num_layers=1']
    small += [f'{head}.pixel_decoder.encoder.num_layers=1', 'model.text_mapper.num_layers=1']
    for split in ('train', 'val'):
        small += [
            f'{split}_dataloader.num_workers=0',
            f'{split}_dataloader.persistent_workers=False',
        ]
    run_tool('train', config, '--cfg-options', *small)
    (best,) = (tmp_path / f'work_dirs/my_{kind}_gpu').glob('best_*.pth')
    weights = torch.load(best, weights_only=False)['state_dict']
    assert weights['panoptic_head.query_embed.weight'].shape == (30, 256)


@pytest.mark.parametrize('machine', ['', '_gpu'])
@pytest.mark.parametrize('kind', KINDS)
def test_settings_stand_at_the_top_and_everything_follows(kind, machine, config_dir, tmp_path):
    lines = (config_dir / f'your_data/{kind}{machine}.py').read_text().splitlines()
    # the first ones are the base, the names, and a comment
    assert [line.split(' = ')[0] for line in lines[3:9]] == SETTINGS
    assert all('  # ' in line for line in lines[3:9])
    values = dict(zip(SETTINGS, (77, 352, 224, 5, 11, 33)))
    lines[3:9] = [f'{name} = {value}' for name, value in values.items()]
    lines[0] = lines[0].replace('../', f'{config_dir}/')
    (tmp_path / 'mine.py').write_text('\n'.join(lines))
    cfg = Config.fromfile(tmp_path / 'mine.py')
    assert cfg.train_cfg.max_iters == 77
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 11
    assert cfg.default_hooks.checkpoint.save_best == 'auto'
    assert cfg.model.panoptic_head.num_queries == 33
    assert cfg.auto_scale_lr.enable and cfg.train_dataloader.batch_size == 5
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    edges = steps['ResizeShortEdge'].short_edges
    assert 352 in edges and edges == sorted(edges) and edges[0] >= 176
    assert steps['RandomCrop'].crop_size == steps['Pad'].size == (224, 224)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        (step,) = (s for s in loader.dataset.pipeline if s.type == 'ResizeShortEdge')
        assert step.short_edges == [352]
    window = cfg.model.test_cfg.get('window')
    assert window == (None if machine else dict(size=224, overlap=64))
    assert unread_settings(cfg) == []


@pytest.mark.parametrize('kind', ['panoptic', 'instance_gpu'])
def test_the_settings_work_on_the_command_line(kind, config_dir):
    config = config_dir / f'your_data/{kind}.py'
    values = dict(zip(SETTINGS, (77, 240, 128, 5, 11, 33)))
    cfg = read_config(SimpleNamespace(config=str(config), cfg_options=values))
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    edges = steps['ResizeShortEdge'].short_edges
    before = Config.fromfile(config)
    theirs = {s.type: s for s in before.train_dataloader.dataset.pipeline}['ResizeShortEdge']
    assert edges == [round(e * 240 / before.image_size) for e in theirs.short_edges]
    assert steps['ResizeShortEdge'].max_size == 4 * 240
    assert steps['RandomCrop'].crop_size == steps['Pad'].size == (128, 128)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.pipeline[1].short_edges == [240]
    assert (cfg.train_cfg.max_iters, cfg.train_cfg.val_interval) == (77, 11)
    assert cfg.default_hooks.checkpoint.interval == 11
    assert (cfg.train_dataloader.batch_size, cfg.model.panoptic_head.num_queries) == (5, 33)
    assert cfg.model.test_cfg.get('window') in (None, dict(size=128, overlap=64))
    assert unread_settings(cfg) == []


@pytest.mark.parametrize('value', [0, 64.5, '2k', True])
def test_a_setting_that_is_not_a_number_is_refused(value, config_dir):
    config = str(config_dir / 'your_data/panoptic.py')
    with pytest.raises(SystemExit, match='image_size is .*: it takes a whole number from 1'):
        read_config(SimpleNamespace(config=config, cfg_options=dict(image_size=value)))


@pytest.mark.parametrize(
    'base',
    [
        '_base_/your_data_swin-t',
        '_base_/your_data_swin-l',
        'oneformer_efficientnet-lite0_quickstart',
        'oneformer_r50_coco',
        'oneformer_swin-l_ade20k',
        'oneformer_swin-l_mapillary',
    ],
)
@pytest.mark.parametrize('kind', KINDS)
def test_the_lines_stay_as_they_are_over_another_base(kind, base, config_dir, tmp_path):
    lines = (config_dir / f'your_data/{kind}_gpu.py').read_text().splitlines()
    lines[0] = f"_base_ = '{config_dir / base}.py'"
    (tmp_path / 'mine.py').write_text('\n'.join(lines))
    cfg = Config.fromfile(tmp_path / 'mine.py')
    shipped = Config.fromfile(config_dir / f'your_data/{kind}_gpu.py')
    assert cfg.model.metainfo == shipped.model.metainfo
    assert cfg.model.backbone == Config.fromfile(config_dir / f'{base}.py').model.backbone
    assert cfg.test_evaluator == shipped.test_evaluator
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        ours, theirs = dict(cfg[loader].dataset), dict(shipped[loader].dataset)
        sizes = [  # of crops and short edges
            {s.type: (s.get('short_edges'), s.get('size'), s.get('crop_size')) for s in steps}
            for steps in (ours.pop('pipeline'), theirs.pop('pipeline'))
        ]
        assert all(sizes[0][kind] == sizes[1][kind] for kind in sizes[0].keys() & sizes[1].keys())
        assert ours == theirs  # nothing is left of the base's dataset


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
    small = [*SMALL, 'val_interval=1']
    run_tool('train', config_dir / 'your_data/instance.py', '--cfg-options', *small)
    assert list((tmp_path / 'work_dirs/my_instance').glob('best_instance_AP_iter_*.pth'))


def test_the_page_shows_the_configs_as_they_are(root_dir):
    """One as a whole, of the others what differs: their beginning."""
    page = (root_dir / 'docs/your_data.md').read_text()
    folder = root_dir / 'configs/your_data'
    assert {path.stem for path in folder.glob('*.py')} == {
        f'{kind}{machine}' for kind in KINDS for machine in ('', '_gpu')
    }
    assert f'# configs/your_data/panoptic.py\n{(folder / "panoptic.py").read_text()}```' in page
    for kind in KINDS[1:]:
        lines = (folder / f'{kind}.py').read_text().splitlines()
        end = next(k for k, line in enumerate(lines) if line.startswith('work_dir = '))
        shown = '\n'.join([f'# configs/your_data/{kind}.py', *lines[: end + 1], '...', '```'])
        assert shown in page, kind
    top = (folder / 'panoptic_gpu.py').read_text().partition('\ndata = ')[0]
    assert f'# configs/your_data/panoptic_gpu.py\n{top}...\n```' in page


def test_the_lines_below_the_settings_are_the_same_in_all_configs(config_dir):
    """What is not shown is known: kinds differ in labels, machines in settings and jitter."""
    ends = {}
    for path in sorted((config_dir / 'your_data').glob('*.py')):
        text = path.read_text().partition('\nsizes = ')[2]
        text = '\n'.join(line for line in text.splitlines() if 'evaluator' not in line)
        ends.setdefault(text, []).append(path.stem)
    assert len(ends) == 1, list(ends.values())


def test_the_demo_draws_streets_trains_and_pictures_them(tmp_path, run_tool, monkeypatch):
    sizes = dict(train=3, val=1, size=96)
    monkeypatch.setitem(scenes.SCENES, 'streets', {**scenes.SCENES['streets'], **sizes})
    printed = run_tool('quickstart', '--scenes', 'streets', '--max-iters', 1)
    assert 'training 1 iterations' in printed
    scores = json.loads((tmp_path / 'work_dirs/street/metrics.json').read_text())
    assert {'panoptic/PQ', 'instance/AP_s'} <= set(scores)
    assert len(list((tmp_path / 'work_dirs/street/pictures').iterdir())) == 1
