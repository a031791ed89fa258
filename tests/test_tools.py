"""The tools, end to end and by config alone: train, evaluate, draw."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart.py'


def small(folder, iterations=2):
    """Overrides that make the quick start tiny; without a download or ImageNet weights."""
    return [
        '--cfg-options',
        *[
            f'{loader}.dataset.data_root={folder}/'
            for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        ],
        'model.backbone.pretrained=False',
        'train_dataloader.batch_size=2',
        f'train_cfg.max_iters={iterations}',
    ]


@pytest.fixture
def trained(run_tool, config_dir, tiny_set, tmp_path):
    """A checkpoint of two iterations."""
    run_tool('train', config_dir / QUICKSTART, '--work-dir', tmp_path / 'run', *small(tiny_set))
    return tmp_path / 'run/iter_2.pth'


def test_a_trained_model_is_scored_on_all_tasks_in_one_pass(
    trained, run_tool, config_dir, tiny_set, tmp_path
):
    out = tmp_path / 'metrics.json'
    printed = run_tool(
        'test', config_dir / QUICKSTART, trained, '--out-json', out, *small(tiny_set)
    )
    metrics = json.loads(out.read_text())
    for name in ('panoptic/PQ', 'panoptic/PQ_th', 'instance/AP', 'instance/AP50', 'semantic/mIoU'):
        assert 0 <= metrics[name] <= 100
        assert f'{name}: {metrics[name]:.2f}' in printed


def test_only_the_wanted_tasks_are_predicted(trained, run_tool, config_dir, tiny_set, tmp_path):
    out = tmp_path / 'metrics.json'
    run_tool(
        'test', config_dir / QUICKSTART, trained,
        '--tasks', 'semantic', '--out-json', out, *small(tiny_set),
    )  # fmt: skip
    assert {name.split('/')[0] for name in json.loads(out.read_text())} == {'semantic'}


def test_the_token_matrix_scores_every_task_under_every_token(
    trained, run_tool, config_dir, tiny_set
):
    printed = run_tool('test', config_dir / QUICKSTART, trained, '--token-matrix', *small(tiny_set))
    table = printed[printed.index('| task token') :].strip().splitlines()
    assert table[0] == '| task token | PQ | AP | mIoU |'
    assert [row.split()[1] for row in table[2:]] == ['panoptic', 'instance', 'semantic']


def test_inference_neither_needs_nor_loads_the_text_branch(
    trained, run_tool, config_dir, tiny_set, tmp_path
):
    checkpoint = torch.load(trained, weights_only=False)
    text_branch = [
        key
        for key in checkpoint['state_dict']
        if key.startswith(('text_mapper.', 'contrastive_loss.'))
    ]
    assert text_branch
    for key in text_branch:
        del checkpoint['state_dict'][key]
    stripped = tmp_path / 'stripped.pth'
    torch.save(checkpoint, stripped)
    scores = []
    for weights in (trained, stripped):
        out = tmp_path / 'metrics.json'
        run_tool('test', config_dir / QUICKSTART, weights, '--out-json', out, *small(tiny_set))
        scores.append(out.read_text())
        assert 'panoptic/PQ' in scores[-1]
    assert scores[0] == scores[1]


def test_mmdets_inference_functions_prediction_files_and_arrays(trained, config_dir, tiny_set):
    from mmdet.apis import inference_detector, init_detector

    model = init_detector(str(config_dir / QUICKSTART), str(trained), device='cpu')
    path = str(sorted((tiny_set / 'val').glob('*.jpg'))[0])
    from_file, from_array = (
        inference_detector(model, path),
        inference_detector(model, cv2.imread(path)),
    )
    for field in ('pred_panoptic_seg', 'pred_sem_seg'):
        predictions = [getattr(prediction, field).sem_seg for prediction in (from_file, from_array)]
        assert torch.equal(*predictions) and predictions[0].shape[1:] == cv2.imread(path).shape[:2]
    assert torch.equal(from_file.pred_instances.scores, from_array.pred_instances.scores)


def test_training_continues_where_it_stopped(trained, run_tool, config_dir, tiny_set, tmp_path):
    run_tool(
        'train', config_dir / QUICKSTART, '--work-dir', tmp_path / 'run', '--resume',
        *small(tiny_set, iterations=3),
    )  # fmt: skip
    assert (tmp_path / 'run/last_checkpoint').read_text().strip().endswith('iter_3.pth')
    first, last = (torch.load(tmp_path / f'run/iter_{i}.pth', weights_only=False) for i in (2, 3))
    assert last['optimizer']['state'][0]['step'] == first['optimizer']['state'][0]['step'] + 1


def test_pictures_show_ground_truth_and_predictions(
    trained, run_tool, config_dir, tiny_set, tmp_path
):
    run_tool(
        'test', config_dir / QUICKSTART, trained,
        '--work-dir', 'out', '--show-dir', 'drawn', *small(tiny_set),
    )  # fmt: skip
    pictures = sorted((tmp_path / 'drawn').iterdir())
    images = sorted((tiny_set / 'val').glob('*.jpg'))
    assert len(pictures) == len(images) == 5
    for image, picture in zip(
        map(cv2.imread, map(str, images)), map(cv2.imread, map(str, pictures))
    ):
        height, width = image.shape[:2]
        # image, ground truth, three predictions and four gaps; the panoptic prediction is empty
        assert picture.shape == (height, 5 * width + 4 * 6, 3)
        panels = [picture[:, i * (width + 6) :][:, :width].astype(int) for i in range(5)]
        assert np.abs(panels[0] - image).mean() < 6  # written as JPEG again
        assert np.abs(panels[1] - image).mean() > 10  # painted


def test_a_checkpoint_of_another_model_is_refused(
    trained, run_tool, config_dir, tiny_set, tmp_path
):
    checkpoint = torch.load(trained, weights_only=False)
    weights = checkpoint['state_dict']
    weights['panoptic_head.class_embed.bias'] = weights.pop('panoptic_head.cls_embed.bias')
    torch.save(checkpoint, tmp_path / 'renamed.pth')
    with pytest.raises(SystemExit, match=r'class_embed\.bias[\s\S]*cls_embed\.bias'):
        run_tool('test', config_dir / QUICKSTART, tmp_path / 'renamed.pth', *small(tiny_set))


def test_evaluation_leaves_the_config_as_it_was(config_dir):
    from mmengine.config import Config

    from oneformer.training.evaluate import inference_config

    cfg = Config.fromfile(config_dir / QUICKSTART)
    before = cfg.pretty_text
    changed = inference_config(cfg, ['semantic'], token='panoptic')
    assert cfg.pretty_text == before
    assert changed.model.text_mapper is None
    assert [metric.type for metric in changed.test_evaluator] == ['SemanticIoU']


DEMO = """
import sys
sys.path.insert(0, sys.argv[1])
from oneformer.quickstart.scenes import SCENES
SCENES['toys'].update(train=8, val=7)
import oneformer_cli
oneformer_cli.main(['demo', '--max-iters', '2'])
"""
# all that a person sees of it
SCREEN = r"""
.*data/quickstart: 8 train and 7 val images with \d+ segments
training 2 iterations, log in .*
    2/2  loss .*, 0\.0 min left
evaluating all three tasks in one pass
PQ .*, AP .*, mIoU .* after .* min; pictures in work_dirs/quickstart/pictures, all metrics in .*
"""


def test_the_demo_ends_with_metrics_and_pictures_and_tells_nothing_else(tmp_path, root_dir):
    done = subprocess.run(
        [sys.executable, '-c', DEMO, root_dir / 'projects'],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(SCREEN.strip(), done.stdout.strip()), done.stdout
    folder = tmp_path / 'work_dirs/quickstart'
    metrics = json.loads((folder / 'metrics.json').read_text())
    assert {'panoptic/PQ', 'instance/AP', 'semantic/mIoU'} <= metrics.keys()
    assert f'PQ {metrics["panoptic/PQ"]:.1f}, AP ' in done.stdout
    pictures = [cv2.imread(str(path)) for path in sorted((folder / 'pictures').iterdir())]
    assert len(pictures) == 6 and all((picture.shape[1] - 24) % 5 == 0 for picture in pictures)


def write_miniature_ade20k(folder):
    """Three images a split in ADE20K's layout: crowd, void, and one without any thing."""
    from oneformer.metainfo import KNOWN_DATASETS

    rng = np.random.default_rng(0)
    metainfo = KNOWN_DATASETS['ade20k']
    categories = [
        dict(id=i, name=name, isthing=int(name in metainfo['thing_classes']))
        for i, name in enumerate(metainfo['classes'])
    ]
    for split, images in (('train', 'training'), ('val', 'validation')):
        (folder / 'images' / images).mkdir(parents=True)
        (folder / f'ade20k_panoptic_{split}').mkdir()
        content = dict(images=[], annotations=[], categories=categories)
        for number in range(3):
            name = f'ADE_{split}_{number:08d}'
            ids = np.zeros((90, 120 + 10 * number), int)
            ids[:50], ids[55:] = 70 + 256 * 9, 4000  # sky, floor; void between
            segments = [
                dict(id=70 + 256 * 9, category_id=2, iscrowd=0),
                dict(id=4000, category_id=3, iscrowd=0),
            ]
            if number:
                ids[20:70, 20:50], ids[30:60, 60:90] = 99000, 99001
                segments += [
                    dict(id=99000, category_id=12, iscrowd=0),
                    dict(id=99001, category_id=12, iscrowd=int(number == 2)),
                ]
            rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
            image = rng.integers(0, 255, (*ids.shape, 3), np.uint8)
            cv2.imwrite(str(folder / 'images' / images / f'{name}.jpg'), image)
            cv2.imwrite(str(folder / f'ade20k_panoptic_{split}' / f'{name}.png'), rgb[..., ::-1])
            size = dict(height=ids.shape[0], width=ids.shape[1])
            content['images'].append(dict(id=name, file_name=f'{name}.jpg', **size))
            content['annotations'].append(
                dict(image_id=name, file_name=f'{name}.png', segments_info=segments)
            )
        (folder / f'ade20k_panoptic_{split}.json').write_text(json.dumps(content))


def test_swin_l_trains_and_is_scored_on_ade20ks_layout(run_tool, config_dir, tmp_path):
    root = tmp_path / 'data/ADEChallengeData2016'
    write_miniature_ade20k(root)
    crop = [f'train_dataloader.dataset.pipeline.{i}' for i in (3, 6)]
    run_tool(
        'train', config_dir / 'oneformer_swin-l_ade20k.py',
        '--cfg-options', 'model.backbone.init_cfg=None', 'train_cfg.max_iters=2',
        f'{crop[0]}.crop_size=(128,128)', f'{crop[1]}.size=(128,128)',
        'train_dataloader.batch_size=1', 'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False', 'default_hooks.checkpoint.save_last=False',
        'val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False',
        'default_hooks.checkpoint.save_best=None', 'default_hooks.logger.interval=1',
        'val_dataloader.dataset.pipeline.1.short_edges=[128]',
    )  # fmt: skip
    (log,) = (tmp_path / 'work_dirs/oneformer_swin-l_ade20k').glob('*/vis_data/scalars.json')
    first, second, scores = map(json.loads, log.read_text().splitlines())
    assert np.isfinite([first['loss'], second['loss']]).all()
    assert len([key for key in first if key.endswith('loss_dice')]) == 10
    # the evaluation that follows the last iteration scores all three tasks
    assert {'panoptic/PQ', 'instance/AP', 'semantic/mIoU'} <= scores.keys()


def test_nuclei_in_real_photographs(run_tool, config_dir, shared_dir, tmp_path):
    config = config_dir / 'oneformer_efficientnet-lite0_nuclei.py'
    root = f'{shared_dir}/data/dsb2018_panoptic/'
    options = [
        '--cfg-options',
        *[
            f'{loader}.dataset.data_root={root}'
            for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        ],
        'train_cfg.max_iters=12',
        'train_cfg.val_interval=100',
        'train_dataloader.batch_size=2',
        'val_dataloader.dataset.indices=1',
        'test_dataloader.dataset.indices=2',
        'default_hooks.logger.interval=2',
    ]
    run_tool('train', config, '--work-dir', tmp_path / 'run', *options)
    (log,) = (tmp_path / 'run').glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [row['loss'] for row in rows if 'loss' in row]
    print(losses)
    assert len(losses) == 6 and losses[-1] < 0.8 * losses[0]
    out = tmp_path / 'metrics.json'
    run_tool('test', config, tmp_path / 'run/iter_12.pth', '--out-json', out, *options)
    metrics = json.loads(out.read_text())
    assert metrics['semantic/mIoU'] > 0


def test_doctor_names_the_attention_in_use(run_tool):
    from oneformer.kernels.attention_paths import PATHS, choose_path

    printed = run_tool('doctor')
    assert f'torch                  {torch.__version__.split("+")[0]}' in printed
    assert 'deformable attention   bags of rows: ' in printed or torch.cuda.is_available()
    on_gpu = choose_path('cuda')
    if not torch.cuda.is_available():
        assert f'  on a GPU             {PATHS[on_gpu[0]]}: {on_gpu[1]}' in printed
    assert ('mmcv==' in printed) == (on_gpu[0] != 'cuda')
