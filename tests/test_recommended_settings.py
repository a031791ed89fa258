"""What the checker recommends for a set of known sizes, and its warning of objects that vanish."""

import json

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from oneformer.inspection.checking import check_config

NAMES = dict(classes=('ant', 'elephant', 'ground'), thing_classes=('ant', 'elephant'))
HEIGHT, WIDTH = 240, 320


def write(folder, ants, side, images=4, elephant=80):
    """Images of 320 x 240 with ants of a side in pixels, a square elephant, and ground around."""
    for name in ('img', 'seg'):
        (folder / name).mkdir(parents=True)
    content = dict(images=[], annotations=[])
    content['categories'] = [
        dict(id=i, name=name, isthing=int(name != 'ground'))
        for i, name in enumerate(NAMES['classes'])
    ]
    for number in range(1, images + 1):
        ids = np.full((HEIGHT, WIDTH), 99)
        ids[-elephant:, -elephant:] = 98
        for k in range(ants):
            row, column = divmod(k, 10)
            ids[row * 24 : row * 24 + side, column * 20 : column * 20 + side] = k + 1
        png = np.stack([ids, ids * 0, ids * 0], -1).astype(np.uint8)
        Image.fromarray(png).save(folder / f'seg/{number}.png')
        Image.fromarray(png * 2).save(folder / f'img/{number}.jpg')
        content['images'].append(
            dict(id=number, file_name=f'{number}.jpg', height=HEIGHT, width=WIDTH)
        )
        segments = [dict(id=k + 1, category_id=0) for k in range(ants)]
        segments += [dict(id=98, category_id=1), dict(id=99, category_id=2)]
        content['annotations'].append(
            dict(image_id=number, file_name=f'{number}.png', segments_info=segments)
        )
    (folder / 'a.json').write_text(json.dumps(content))


def checked(folder, config, train_edges, test_edge, crop=None):
    """Summary and findings of the training set, resized by a config to short edges."""
    cfg = Config.fromfile(config)
    dataset = dict(
        type='PanopticDataset',
        metainfo=NAMES,
        data_root=str(folder),
        ann_file='a.json',
        data_prefix=dict(img='img', seg='seg'),
    )
    train = [dict(type='ResizeShortEdge', short_edges=train_edges, max_size=2000)]
    test = [dict(type='ResizeShortEdge', short_edges=[test_edge], max_size=2000)]
    cfg.train_dataloader.dataset = dict(dataset, pipeline=train)
    cfg.val_dataloader.dataset = dict(dataset, pipeline=test, test_mode=True)
    found = check_config(cfg, ['train'])['train']
    return found.summary['advice'], [f for f in found.findings if 'vanish' in f.kind]


@pytest.fixture
def cpu(config_dir):
    return config_dir / 'your_data/panoptic.py'


def test_small_objects_are_counted_where_the_config_resizes_them(tmp_path, cpu):
    write(tmp_path, ants=9, side=10)  # 9 of 10 objects
    advice, findings = checked(tmp_path, cpu, [96, 120, 144], 180)
    assert advice['objects'] == 40
    # 10 pixels become 5 in training, and 7.5 in test
    assert advice['below'] == dict(training=0.9, test=0.9)
    assert advice['sides'] == {'10 %': 10.0, '50 %': 10.0, '90 %': 17.0}
    (finding,) = findings
    assert finding.severity == 'warning' and finding.id == 'ant'
    assert 'of 40 objects 90% at the size of training (short edge 96 to 144)' in finding.message
    assert '90% at the size of test (short edge 180)' in finding.message
    assert 'ant 100%' in finding.message and 'elephant' not in finding.message
    # 8 / 10 of 240 is 192; but not below what they are, in steps of 32
    assert 'set image_size = 256' in finding.message


@pytest.mark.parametrize(('edge', 'share'), [(192, 0.0), (191, 0.9)])
def test_an_object_of_eight_pixels_is_not_below_them(tmp_path, cpu, edge, share):
    write(tmp_path, ants=9, side=10)
    advice, findings = checked(tmp_path, cpu, [edge], edge)
    assert advice['below'] == dict(training=share, test=share)
    assert len(findings) == (share > 0)


def test_few_small_objects_give_no_warning(tmp_path, cpu):
    write(tmp_path, ants=0, side=10)
    advice, findings = checked(tmp_path, cpu, [120], 120)
    assert advice['below'] == dict(training=0.0, test=0.0) and findings == []


@pytest.mark.parametrize(
    ('machine', 'ants', 'side', 'images', 'expected'),
    [
        # images as they are, as many queries as the fullest image has, and a quarter more
        ('', 40, 10, 4, dict(image_size=256, crop_size=256, num_queries=60)),
        # 8 / 5 of 240 pixels are 384
        ('', 40, 5, 4, dict(image_size=384, crop_size=256, batch_size=3, max_iters=800)),
        # at most twice as large as they are
        ('', 40, 2, 4, dict(image_size=480, val_interval=400)),
        # 300 images in batches of 3, twelve times
        ('', 1, 10, 300, dict(max_iters=1200, val_interval=600, num_queries=30)),
        ('_gpu', 40, 5, 4, dict(image_size=384, crop_size=384, batch_size=14, max_iters=2000)),
        # 300 images in batches of 16, a hundred times
        ('_gpu', 1, 10, 300, dict(image_size=256, max_iters=2000, num_queries=150)),
    ],
)
def test_settings_are_recommended_by_sizes(
    tmp_path, config_dir, machine, ants, side, images, expected
):
    write(tmp_path, ants, side, images)
    config = config_dir / f'your_data/panoptic{machine}.py'
    advice, _ = checked(tmp_path, config, [160], 160)
    settings = advice['settings']
    assert {key: settings[key] for key in expected} == expected
    lines = config.read_text().splitlines()[3:9]
    assert list(settings) == [line.split(' = ')[0] for line in lines]  # they can be pasted


def test_regions_of_label_images_are_not_objects(tmp_path, config_dir):
    cfg = Config.fromfile(config_dir / 'your_data/semantic.py')
    for name in ('img', 'seg'):
        (tmp_path / name).mkdir()
    for number in range(2):
        values = np.zeros((HEIGHT, WIDTH), np.uint8)
        values[:3, :3] = 1
        values[100:] = 2
        Image.fromarray(values).save(tmp_path / f'seg/{number}.png')
        Image.fromarray(values * 90).convert('RGB').save(tmp_path / f'img/{number}.jpg')
    labels = dict(data_root=str(tmp_path), data_prefix=dict(img='img', seg='seg'), metainfo=NAMES)
    cfg.train_dataloader.dataset.update(labels)
    found = check_config(cfg, ['train'])['train']
    advice = found.summary['advice']
    assert advice['objects'] == 0 and advice['below'] == dict(training=None, test=None)
    assert advice['settings']['image_size'] == 256  # near to what they are
    assert not [f for f in found.findings if 'vanish' in f.kind]


def test_the_tool_prints_settings_to_paste(tmp_path, run_tool, config_dir):
    for split in ('train', 'val'):
        write(tmp_path / split, ants=9, side=10)
    text = (config_dir / 'your_data/panoptic.py').read_text().replace('../', f'{config_dir}/')
    lines = text.splitlines()
    lines[1] = f'names = {NAMES!r}'
    paths = [
        f"{split}_dataloader['dataset'].update(data_root='{tmp_path / split}', ann_file='a.json', "
        "data_prefix=dict(img='img', seg='seg'))"
        for split in ('train', 'val')
    ]
    (tmp_path / 'mine.py').write_text('\n'.join([*lines, *paths]))
    arguments = ('check_dataset', tmp_path / 'mine.py', '--workers', 1, '--split', 'train', 'val')
    printed = run_tool(*arguments, '--cfg-options', 'image_size=120')
    assert 'warning: small objects vanish (1)' in printed
    assert (
        'train: 40 objects, side (root of the area) of a tenth of them up to 10 pixels' in printed
    )
    pasted = printed.split('recommended settings for a CPU, to paste:\n')[1].splitlines()[:6]
    lines[3:9] = [line.strip() for line in pasted]
    (tmp_path / 'mine.py').write_text('\n'.join([*lines, *paths]))
    again = run_tool(*arguments)
    assert 'vanish' not in again
    assert again.split('to paste:\n')[1].splitlines()[:6] == pasted
