"""``tools/test.py`` beyond scores: per class, official files, result files, several views."""

import json
import re

import numpy as np
import oneformer_cli
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart.py'


@pytest.fixture(scope='module')
def run_test(config_dir, tmp_path_factory, tiny_set):
    """Arguments that let the tool score untrained weights, which predict something, on CPU."""
    cfg = Config.fromfile(config_dir / QUICKSTART).model
    cfg.backbone.pretrained = False
    torch.manual_seed(2)
    model = MODELS.build(cfg)
    for parameter in model.panoptic_head.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter)
    with torch.no_grad():
        model.panoptic_head.mask_embed[-1].weight.mul_(0.01)
    checkpoint = tmp_path_factory.mktemp('weights') / 'untrained.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    options = [
        '--cfg-options',
        f'test_dataloader.dataset.data_root={tiny_set}/',
        'model.backbone.pretrained=False',
        'model.test_cfg.object_mask_thr=0.1',
        'model.test_cfg.iou_thr=0.0',
    ]
    return [config_dir / QUICKSTART, checkpoint], options


def test_numbers_per_class_are_in_the_file_and_in_the_log(run_test, run_tool, tmp_path):
    arguments, options = run_test
    out = tmp_path / 'metrics.json'
    printed = run_tool('test', *arguments, '--per-class', '--out-json', out, *options)
    metrics = json.loads(out.read_text())
    per_class = metrics['per_class']
    assert set(per_class) == {'panoptic', 'instance', 'semantic'}
    for task, column, average in (
        ('panoptic', 'PQ', 'panoptic/PQ'),
        ('instance', 'AP', 'instance/AP'),
        ('semantic', 'IoU', 'semantic/mIoU'),
    ):
        values = [row[column] for row in per_class[task].values()]
        assert np.mean(values) == pytest.approx(metrics[average])
    assert set(per_class['instance']) <= {'ball', 'crate', 'starfish', 'life ring'}
    (log,) = (tmp_path / 'work_dirs/quickstart').glob('*/*.log')
    for text in (log.read_text(), printed):
        assert 'PanopticQuality per class' in text and '| IoU' in text
    assert 'semantic/mIoU: ' in printed and '\nper_class' not in printed


def test_result_files_need_no_ground_truth_and_score_as_the_predictions_do(
    run_test, run_tool, tiny_set, tmp_path
):
    arguments, options = run_test
    content = json.loads((tiny_set / 'panoptic_val.json').read_text())
    unlabelled = tmp_path / 'test.json'
    unlabelled.write_text(json.dumps({k: v for k, v in content.items() if k != 'annotations'}))
    run_tool(
        'test', *arguments, '--format-only', '--out-dir', tmp_path / 'results',
        *options, f'test_dataloader.dataset.ann_file={unlabelled}',
    )  # fmt: skip
    images = {image['file_name']: image for image in content['images']}
    stems = {name.split('.')[0] for name in images}
    for kind in ('panoptic', 'semantic'):
        assert {path.name for path in (tmp_path / f'results/{kind}').iterdir()} == {
            f'{stem}.png' for stem in stems
        }
    results = json.loads((tmp_path / 'results/panoptic.json').read_text())
    assert {image['file_name'] for image in results['images']} == set(images)
    assert sum(len(a['segments_info']) for a in results['annotations']) > 0
    instances = json.loads((tmp_path / 'results/instance.json').read_text())
    assert {record['image_id'] for record in instances} == {i['id'] for i in content['images']}
    things = {c['id'] for c in content['categories'] if c['isthing']}
    assert {record['category_id'] for record in instances} <= things

    # scored as an official annotation, the written labels agree with the predictions wholly
    (tmp_path / 'official.py').write_text(
        f"""_base_ = {str(arguments[0])!r}
official_evaluator = [dict(type='SemanticIoU', seg_prefix={str(tmp_path / 'results/semantic')!r})]
"""
    )
    out = tmp_path / 'metrics.json'
    run_tool(
        'test', tmp_path / 'official.py', arguments[1],
        '--official', '--out-json', out, *options,
    )  # fmt: skip
    metrics = json.loads(out.read_text())
    assert metrics['semantic/mIoU'] == metrics['semantic/pACC'] == 100


def test_scores_and_files_of_other_processes_are_the_same_and_the_log_says_what_is_waited_for(
    run_test, run_tool, tmp_path
):
    arguments, options = run_test
    for workers in (0, 1):
        folder = tmp_path / f'results{workers}'
        extra = (
            '--score-workers',
            workers,
            '--out-dir',
            folder,
            '--out-json',
            folder / 'scores.json',
        )
        (folder).mkdir()
        printed = run_tool('test', *arguments, *extra, *options, 'default_hooks.logger.interval=2')
        lines = re.findall(r'waits for ([a-z ]+): ([\d.e-]+) of ([\d.e-]+) s per batch', printed)
        assert lines and {what for what, *_ in lines} <= {'the network', 'images', 'scoring'}
        assert all(0 < float(part) <= 1.05 * float(whole) for _, part, whole in lines)
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*.*')}
        for folder in (tmp_path / 'results0', tmp_path / 'results1')
    ]
    assert files[0] == files[1] and len(files[0]) > 10


def test_several_views_are_scored_on_the_semantic_task_only(run_test, run_tool, tmp_path):
    arguments, options = run_test
    scores = []
    for extra in ([], ['--tta']):
        out = tmp_path / 'metrics.json'
        tasks = [] if extra else ['--tasks', 'semantic']
        run_tool('test', *arguments, *tasks, *extra, '--out-json', out, *options)
        scores.append(json.loads(out.read_text()))
    assert scores[0].keys() == scores[1].keys() and 'panoptic/PQ' not in scores[1]
    assert scores[0] != scores[1]


@pytest.mark.parametrize(
    'given, message',
    [
        (['--token-matrix', '--tta'], r"--token-matrix .*drop \['--tta'\]"),
        (['--tta', '--tasks', 'panoptic'], '--tta is for the semantic task'),
        (['--format-only'], '--format-only needs --out-dir'),
        (['--format-only', '--out-dir', 'x', '--per-class'], 'gives no scores'),
        (['--score-workers', '-1'], '--score-workers must be 0 or more, not -1'),
    ],
)
def test_arguments_that_contradict_are_refused(given, message, capsys):
    with pytest.raises(SystemExit):
        oneformer_cli.main(['test', 'oneformer_swin-t_coco', 'weights.pth', *given])
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    'options, key',
    [
        (dict(official=True), 'official_evaluator'),
        (dict(tta=True), 'tta'),
        (dict(out_dir='x'), 'format_evaluator'),
    ],
)
def test_a_config_without_the_key_is_told_what_to_write(options, key, config_dir):
    from oneformer.training.evaluate import inference_config

    cfg = Config.fromfile(config_dir / QUICKSTART)
    cfg.pop(key, None)
    with pytest.raises(KeyError, match=f'the config has no {key}.*{key} = '):
        inference_config(cfg, **options)


def test_result_files_follow_the_tasks(config_dir):
    from oneformer.training.evaluate import inference_config

    cfg = Config.fromfile(config_dir / 'oneformer_swin-l_cityscapes.py')
    kinds = {
        task: [
            m.type for m in inference_config(cfg, [task], score=False, out_dir='x').test_evaluator
        ]
        for task in ('panoptic', 'instance', 'semantic')
    }
    assert kinds == dict(
        panoptic=['PanopticFiles'],
        instance=['CityscapesInstanceFiles'],
        semantic=['CityscapesSemanticFiles'],
    )
    official = inference_config(cfg, ['instance'], official=True, per_class=True).test_evaluator
    assert official == [
        dict(type='CityscapesInstance', seg_prefix='data/cityscapes/gtFine/val/', classwise=True)
    ]
