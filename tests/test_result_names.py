"""What results are called: one rule for test, predict and pictures, and folders are mirrored."""

import json
from types import SimpleNamespace

import cv2
import echo
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, HOOKS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from runs import forget_runs

from oneformer.images.result_names import name_below, result_stems
from oneformer.inference.inputs import list_sources
from oneformer.training.evaluate import show_pictures
from oneformer.visualization import OneFormerVisualizer

SHAPE = HEIGHT, WIDTH = 40, 56
NAMES = dict(classes=('cat', 'dog', 'grass', 'sky'), thing_classes=('cat', 'dog'))
PLACE = 'data/mine'
# image: name of its results without suffix
IMAGES = {
    'cam0/0001.jpg': 'cam0/0001',
    'cam1/0001.jpg': 'cam1/0001',
    'cam1/left eye/day.1/frame.0001.v2.jpg': 'cam1/left eye/day.1/frame.0001.v2',
    'both/b.jpg': 'both/b.jpg',
    'both/b.png': 'both/b.png',
    'b.png': 'b',
    'a/b/c/d/e/f/g/h/i.jpg': 'a/b/c/d/e/f/g/h/i',
}


@pytest.mark.parametrize(
    'names, stems',
    [
        (IMAGES, IMAGES.values()),
        (['a.jpg', 'a.jpg.png', 'a.png'], ['a.jpg', 'a.jpg.png', 'a.png']),
        (['a.jpg', 'a.png', 'a.jpg.bmp'], ['a.jpg', 'a.png', 'a.jpg.bmp']),
        (['x/a.jpg', 'y/a.png', 'x.a/jpg'], ['x/a', 'y/a', 'x.a/jpg']),
        (['a.JPG', 'a.jpg'], ['a.JPG', 'a.jpg']),
        (['a', 'a.png', '.png'], ['a', 'a.png', '.png']),
    ],
)
def test_a_result_is_called_as_its_image_without_suffix_unless_others_were_too(names, stems):
    assert result_stems(list(names)) == list(stems)
    assert len(set(result_stems(list(names)))) == len(names)


@pytest.mark.parametrize(
    'path, folder, name',
    [
        ('data/img/cam0/1.jpg', 'data/img/', 'cam0/1.jpg'),
        ('data/img/cam0/1.jpg', 'data/img', 'cam0/1.jpg'),
        ('data/img/./cam0//1.jpg', 'data/img/', 'cam0/1.jpg'),
        ('data/images/1.jpg', 'data/img', '1.jpg'),  # elsewhere
        ('/images/.hidden/1.jpg', '/images', '.hidden/1.jpg'),
        ('cam0/1.jpg', '', 'cam0/1.jpg'),
    ],
)
def test_an_image_is_called_by_its_path_below_its_folder(path, folder, name):
    assert name_below(path, folder) == name


def segment_ids(seed):
    """Segment ids of a scene with two stuff segments, two things and void."""
    ids = np.full(SHAPE, 300)
    ids[:12] = 70000
    rng = np.random.default_rng(seed)
    for number in (1000, 1001):
        top, left = rng.integers(0, 20, 2)
        ids[top : top + 16, left : left + 20] = number
    ids[-3:] = 0
    return ids


def write_panoptic(folder):
    """A panoptic set of all ``IMAGES``."""
    content = dict(images=[], annotations=[])
    content['categories'] = [
        dict(id=10 * k + 3, name=name, isthing=int(k < 2))
        for k, name in enumerate(NAMES['classes'])
    ]
    category_of = {1000: 3, 1001: 13, 300: 23, 70000: 33}
    for number, name in enumerate(IMAGES, 1):
        ids = segment_ids(number)
        png = f'labels of {number}.png'
        echo.write_image(folder / 'val' / name, echo.noise(SHAPE, number))
        planes = np.stack([ids >> 16, ids >> 8 & 255, ids & 255], -1)  # blue first
        echo.write_image(folder / 'val_segments' / png, planes.astype(np.uint8))
        content['images'].append(dict(id=number, file_name=name, height=HEIGHT, width=WIDTH))
        infos = [dict(id=i, category_id=c) for i, c in category_of.items() if (ids == i).any()]
        content['annotations'].append(dict(image_id=number, file_name=png, segments_info=infos))
    echo.write_json(folder / 'val.json', content)


def panoptic_set(folder, **others):
    pipeline = [dict(type='LoadPhoto'), dict(type='LoadSegmentMap')]
    config = dict(
        type='PanopticDataset', metainfo=NAMES, data_root=str(folder), pipeline=pipeline,
        ann_file='val.json', data_prefix=dict(img='val', seg='val_segments'), test_mode=True,
    )  # fmt: skip
    return DATASETS.build({**config, **others})


@pytest.fixture
def tested(tmp_path, config_dir, run_tool, monkeypatch):
    """Arguments of tools for a panoptic set of all ``IMAGES``, and a model that predicts truly."""
    echo.predict_truthfully(monkeypatch)
    write_panoptic(tmp_path / PLACE)
    config = echo.write_config(config_dir, tmp_path / 'panoptic.py', 'panoptic', NAMES)
    return config, echo.save_weights(config, tmp_path / 'weights.pth')


def files_below(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file())


def test_results_and_pictures_mirror_folders_and_are_read_back(tested, tmp_path, run_tool):
    out, drawn = tmp_path / 'out', tmp_path / 'drawn'
    run_tool('test', *tested, '--out-dir', out, '--show-dir', drawn, '--cfg-options', *echo.SMALL)
    assert files_below(drawn) == sorted(IMAGES)  # a picture is called as its image
    pictures = [cv2.imread(str(drawn / f'cam{n}/0001.jpg')) for n in (0, 1)]
    assert pictures[0].shape == (HEIGHT, 5 * WIDTH + 4 * 6, 3)
    assert not np.array_equal(*pictures)
    stems = sorted(f'{stem}.png' for stem in IMAGES.values())
    assert files_below(out / 'panoptic') == files_below(out / 'semantic') == stems

    content = json.loads((out / 'panoptic.json').read_text())
    assert [image['file_name'] for image in content['images']] == list(IMAGES)
    pngs = [f'{stem}.png' for stem in IMAGES.values()]
    assert [annotation['file_name'] for annotation in content['annotations']] == pngs
    truth = panoptic_set(tmp_path / PLACE)
    prefix = dict(img='val', seg=str(out / 'panoptic'))
    written = panoptic_set(
        tmp_path / PLACE, ann_file=str(out / 'panoptic.json'), data_prefix=prefix
    )
    labels = DATASETS.build(
        dict(
            type='SemanticDataset', metainfo=NAMES, data_root=str(tmp_path / PLACE),
            data_prefix=dict(img='val/cam1', seg=str(out / 'semantic/cam1')),
            pipeline=[dict(type='LoadPhoto'), dict(type='LoadSegmentMap')],
        )
    )  # fmt: skip
    for ours, theirs in zip(written, truth):
        assert ours['image_name'] == theirs['image_name'] and ours['img_id'] == theirs['img_id']
        kinds = [
            [(k, s['category']) for k, s in enumerate(sample['segments_info'], 1)]
            for sample in (ours, theirs)
        ]
        for k, name in kinds[1]:
            (same,) = {
                j
                for j, other in kinds[0]
                if (ours['gt_seg_map'] == j)[theirs['gt_seg_map'] == k].any()
            }
            assert dict(kinds[0])[same] == name
            assert np.array_equal(ours['gt_seg_map'] == same, theirs['gt_seg_map'] == k)
    assert [sample['img_id'] for sample in labels] == [
        '0001', 'left eye/day.1/frame.0001.v2',
    ]  # fmt: skip


def test_predictions_of_the_folder_are_called_as_those_of_the_test(tested, tmp_path, run_tool):
    run_tool('test', *tested, '--format-only', '--out-dir', 'out', '--cfg-options', *echo.SMALL)
    undo = pytest.MonkeyPatch()  # the inferencer has no ground truth to predict
    undo.setattr('oneformer.models.oneformer.OneFormer.predict', untrue_predict)
    with undo.context():
        run_tool(
            'predict', tmp_path / PLACE / 'val', '--model', tested[0], '--weights', tested[1],
            '--out-dir', tmp_path / 'predicted',
        )  # fmt: skip
    undo.undo()
    for kind in ('panoptic', 'semantic'):
        assert files_below(tmp_path / 'out' / kind) == files_below(tmp_path / 'predicted' / kind)
    names = [
        {
            image['file_name']
            for image in json.loads((tmp_path / folder / 'panoptic.json').read_text())['images']
        }
        for folder in ('out', 'predicted')
    ]
    assert names[0] == names[1] == set(IMAGES)
    assert [s.stem for s in list_sources(tmp_path / PLACE / 'val')] == [
        IMAGES[s.name] for s in list_sources(tmp_path / PLACE / 'val')
    ]


def untrue_predict(self, batch_inputs, batch_data_samples, rescale=True):
    for sample in batch_data_samples:
        empty = torch.zeros(1, *sample.ori_shape, dtype=torch.long)
        sample.pred_panoptic_seg = PixelData(sem_seg=empty + self.num_classes)
        sample.pred_panoptic_seg.set_metainfo(dict(segments_info=[]))
        sample.pred_sem_seg = PixelData(sem_seg=empty)

        sample.pred_instances = InstanceData(
            labels=empty[0, 0, :0], scores=torch.zeros(0), bboxes=torch.zeros(0, 4),
            masks=torch.zeros(0, *sample.ori_shape, dtype=torch.bool),
        )  # fmt: skip
    return batch_data_samples


def semantic_folder(folder, names):
    for number, name in enumerate(names):
        echo.write_image(folder / 'img' / f'{name}.jpg', echo.noise(SHAPE, number))
        echo.write_image(folder / 'seg' / f'{name}.png', np.full(SHAPE, number % 2, np.uint8))


@pytest.mark.parametrize('wrapped', [False, True])
def test_images_of_one_file_name_have_ids_of_their_own_in_label_png_sets(tmp_path, wrapped):
    names = ['cam0/0001', 'cam1/0001', 'x.1']
    semantic_folder(tmp_path, names)
    place = dict(data_root=str(tmp_path), img_suffix='.jpg', seg_map_suffix='.png')
    if wrapped:
        prefix = dict(img_path='img', seg_map_path='seg')
        classes = dict(metainfo=dict(classes=('a', 'b')))
        place = dict(
            dataset=dict(type='mmseg.BaseSegDataset', data_prefix=prefix, **place, **classes)
        )
    else:
        place['data_prefix'] = dict(img='img', seg='seg')
    metainfo = dict(classes=('a', 'b'), thing_classes=())
    dataset = DATASETS.build(dict(type='SemanticDataset', metainfo=metainfo, pipeline=[], **place))
    infos = [dataset.get_data_info(index) for index in range(3)]
    assert sorted(info['img_id'] for info in infos) == names
    assert sorted(info['image_name'] for info in infos) == [f'{name}.jpg' for name in names]


def test_official_label_pngs_are_found_in_the_same_folders(
    tmp_path, config_dir, run_tool, monkeypatch
):
    echo.predict_truthfully(monkeypatch)
    semantic_folder(tmp_path / PLACE, ['cam0/0001', 'cam1/0001'])  # classes 0 and 1
    names = dict(classes=('a', 'b'), thing_classes=())
    extra = f"""
test_dataloader['dataset'].update(data_prefix=dict(img='img/', seg='seg/'))
official_evaluator = [dict(type='SemanticIoU', seg_prefix={str(tmp_path / PLACE / 'seg')!r})]"""
    config = echo.write_config(config_dir, tmp_path / 'semantic.py', 'semantic', names, extra)
    weights = echo.save_weights(config, tmp_path / 'weights.pth')
    out = tmp_path / 'metrics.json'
    run_tool('test', config, weights, '--official', '--out-json', out, '--cfg-options', *echo.SMALL)
    assert json.loads(out.read_text())['semantic/mIoU'] == 100


def test_each_process_draws_its_own_images(tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: 1)
    forget_runs()
    visualizer = OneFormerVisualizer.get_instance('visualizer')
    visualizer.dataset_meta = NAMES
    hook = HOOKS.build(
        dict(type='OneFormerVisualizationHook', draw=True, test_out_dir=str(tmp_path / 'drawn'))
    )
    echo.write_image(tmp_path / 'a b.TIF', echo.noise(SHAPE))
    echo.write_image(tmp_path / 'c.ppm', echo.noise(SHAPE))
    samples = []
    for name in ('a b.TIF', 'c.ppm'):
        sample = DetDataSample(metainfo=dict(img_path=str(tmp_path / name), image_name=f'x/{name}'))
        sample.pred_sem_seg = PixelData(sem_seg=torch.ones(1, *SHAPE, dtype=torch.long))
        samples.append(sample)
    runner = SimpleNamespace(work_dir=str(tmp_path), timestamp='now', visualizer=visualizer)
    hook.after_test_iter(runner, 0, None, samples)
    assert files_below(tmp_path / 'drawn') == ['x/a b.TIF', 'x/c.ppm.png']
    picture = cv2.imread(str(tmp_path / 'drawn/x/c.ppm.png'))
    assert np.array_equal(picture[:, :WIDTH], cv2.imread(str(tmp_path / 'c.ppm')))


def test_a_relative_folder_is_below_the_run_and_not_below_itself(tmp_path):
    forget_runs()
    visualizer = OneFormerVisualizer.get_instance('visualizer')
    visualizer.dataset_meta = NAMES
    hook = HOOKS.build(dict(type='OneFormerVisualizationHook', draw=True, test_out_dir='drawn'))
    runner = SimpleNamespace(work_dir=str(tmp_path), timestamp='now', visualizer=visualizer)
    for name in ('1.png', '2.png'):
        echo.write_image(tmp_path / name, echo.noise(SHAPE))
        sample = DetDataSample(metainfo=dict(img_path=str(tmp_path / name)))
        hook.after_test_iter(runner, 0, None, [sample])
    assert files_below(tmp_path / 'now') == ['drawn/1.png', 'drawn/2.png']


@pytest.mark.parametrize('given', [None, 'DetVisualizationHook', 'MyHook'])
def test_a_config_of_mmdets_hook_draws_by_ours(given, tmp_path):
    hook = {} if given is None else dict(type=given, score_thr=0.7)
    cfg = Config(dict(default_hooks=dict(visualization=hook)))
    show_pictures(cfg, 'drawn')
    hook = cfg.default_hooks.visualization
    assert hook.type == ('MyHook' if given == 'MyHook' else 'OneFormerVisualizationHook')
    assert hook.draw and hook.test_out_dir.endswith('/drawn') and hook.get('score_thr', 0.7) == 0.7


def test_pictures_of_what_training_sees_mirror_folders(tested, tmp_path, run_tool):
    run_tool('browse_dataset', tested[0], '--split', 'val', '--out-dir', 'seen', '--num', 9)
    written = files_below(tmp_path / 'seen')
    assert len(written) == len(IMAGES)
    assert [name for name in written if name.startswith('cam')] == [
        'cam0/val_000000_0001.png',
        'cam1/left eye/day.1/val_000002_frame.0001.v2.png',
        'cam1/val_000001_0001.png',
    ]
