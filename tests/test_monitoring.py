"""What a training tells while it runs: lines on the screen, JSON, table, curves, other tools."""

import json
import re
import shutil
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from interrupted import Trainer, write_config
from mmengine.config import Config

from oneformer.host.unpickling import read_pickle
from oneformer.training.log_lines import metrics_table

ITERS = 4
# losses of each iteration by itself in the JSON, a point of the curves for two of them
MORE = """
default_hooks.update(curves=dict(type='TrainingCurves', interval=2))
default_hooks['checkpoint'].update(max_keep_ckpts=9)
log_processor = dict(
    window_size=1,
    custom_cfg=[dict(data_src='d0.loss_cls', log_name='worst', method_name='max', window_size=9)],
)
train_cfg.update(val_begin=1, val_interval=2)
"""
LOSSES = ('cls', 'mask', 'dice', 'contrastive')


@pytest.fixture(scope='module')
def trainer(root_dir):
    trainer = Trainer(root_dir)
    yield trainer
    trainer.close()


@pytest.fixture(scope='module')
def train(trainer, config_dir, tiny_set, tmp_path_factory):
    """Train with lines at the end of the config; returns the work folder and the screen."""

    def run(more=MORE, *arguments, folder=None, iters=ITERS, **kwargs):
        home = tmp_path_factory.mktemp('monitored')
        config = write_config(home / 'mine.py', config_dir, tiny_set, iters, more)
        folder = folder or home / 'run'
        code, printed = trainer.run(config, folder, *arguments, **kwargs)
        assert code == 0, printed[-3000:]
        return folder, printed

    return run


@pytest.fixture(scope='module')
def whole(train):
    """A training of four iterations with two validations."""
    return train()


def rows_of(folder):
    (path,) = folder.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def log_of(folder):
    (path,) = folder.glob('*/*.log')
    return path.read_text()


def curves_of(checkpoint):
    return read_pickle(checkpoint)['message_hub']['runtime_info']['curves']


# the start


def test_the_screen_shows_the_start_in_some_ten_lines_and_the_files_have_it_whole(whole):
    folder, printed = whole
    start = printed[: printed.index('Iter(train)')].splitlines()
    warnings = [line for line in start if 'WARNING' in line]
    assert len(start) - len(warnings) <= 14 and len(warnings) <= 2
    log = log_of(folder)
    for text in (
        'System environment:', 'Config:\n', 'Hooks will be executed', 'deformable attention: ',
        'precision:            float32',
    ):  # fmt: skip
        assert text in log and text not in printed
    for text in (
        'training set:         16 images',
        'validations:          2, after iterations 2, 4',
    ):
        assert text in log and text in printed
    config = re.search(r'the config is in (\S+), the log.* in (\S+)', printed)
    assert Config.fromfile(config[1]).max_iters == ITERS
    with open(config[2]) as file:
        assert file.read() == log


def test_mmengines_lines_and_start_come_back_by_one_setting(train):
    folder, printed = train(
        "train_cfg = dict(max_iters=1)\nmax_iters = None\nlog_processor = dict(type='LogProcessor')"
    )
    assert 'System environment:' in printed and 'Config:\n' in printed
    assert re.search(r'Iter\(train\) \[1/1\] .*  d0.loss_cls: \d', printed)
    assert not (folder / 'curves.png').exists()  # the test's config has curves=None


def test_a_dry_run_tells_all_facts_and_writes_nothing_anywhere(
    run_tool, config_dir, tiny_set, tmp_path
):
    backends = "visualizer = dict(vis_backends=[dict(type='TensorboardVisBackend', save_dir='tb')])"
    config = write_config(tmp_path / 'mine.py', config_dir, tiny_set, ITERS, MORE + backends)
    printed = run_tool('train', config, '--dry-run')
    assert 'deformable attention: ' in printed and 'validations: ' in printed
    assert 'Config:' not in printed and 'the config is in' not in printed
    assert [path.name for path in tmp_path.iterdir()] == ['mine.py']


# lines and tables


def test_a_line_has_the_last_layer_alone_and_the_json_has_the_rest(whole):
    folder, printed = whole
    rows = [row for row in rows_of(folder) if 'loss' in row]
    assert [row['iter'] for row in rows] == [1, 2, 3, 4]
    lines = [line for line in printed.splitlines() if 'Iter(train)' in line]
    worst = 0
    for row, line in zip(rows, lines, strict=True):
        worst = max(worst, row['d0.loss_cls'])
        losses = ', '.join(f'{name} {row[f"loss_{name}"]:.3f}' for name in LOSSES)
        start = f'Iter(train) [{row["iter"]}/4]  loss: {row["loss"]:.3f} ({losses})  '
        start += f'lr: {row["base_lr"]:.2e}  worst: {worst:.3f}  left: 0:00:'
        assert re.fullmatch(re.escape(start) + r'\d\d', line[line.index('Iter(train)') :])
        assert {'d0.loss_mask', 'grad_norm', 'time', 'task_share/semantic'} <= set(row)


def test_validations_are_announced_and_end_in_a_table(whole):
    folder, printed = whole
    assert printed.count('validation after iteration 2 of 4, on 5 images\n') == 1
    final = 'the final validation, after iteration 4 of 4, on 5 images; the one before took '
    assert printed.count(final) == 1
    scores = [row for row in rows_of(folder) if 'loss' not in row]
    assert [row['step'] for row in scores] == [2, 4]
    shown = dict(
        panoptic=('PQ', 'SQ', 'RQ', 'PQ_th', 'PQ_st'),
        instance=('AP', 'AP50', 'AP75', 'AP_s', 'AP_m', 'AP_l'),
        semantic=('mIoU', 'mIoU_th', 'mIoU_st', 'fwIoU', 'mACC', 'pACC'),
    )
    lines = printed.splitlines()
    for task, names in shown.items():
        tables = [line for line in lines if line.startswith(f'| {task}')]
        for row, line in zip(scores, tables, strict=True):
            cells = [cell.strip() for cell in line.strip('|').split('|')]
            expected = [f'{name} {row[f"{task}/{name}"]:.2f}' for name in names]
            assert [cell for cell in cells if cell] == [task, *expected]


def test_what_is_said_of_the_data_at_each_validation_is_on_the_screen_once(whole):
    folder, printed = whole
    said = 'PanopticQuality: 1 of 8 classes have no ground truth'
    assert (printed.count(said), log_of(folder).count(said)) == (1, 2)


def test_other_figures_have_rows_of_their_own():
    table = metrics_table(
        {'loss': 0.12345, 'street/panoptic/PQ': 61.234, 'coco/bbox_mAP': 0.4567, 'coco/n': 3}
        | {f'coco/x{k}': k / 8 for k in range(7)}
    )
    rows = [[c.strip() for c in line.strip('|').split('|')] for line in table.splitlines()[1:-1]]
    assert [[cell for cell in row if cell] for row in rows] == [
        ['loss 0.123'],
        ['street/panoptic', 'PQ 61.23'],
        ['coco', 'bbox_mAP 0.457', 'n 3.000', *(f'x{k} {k / 8:.3f}' for k in range(5))],
        ['x5 0.625', 'x6 0.750'],
    ]


def test_a_gpu_shows_its_memory(run_tool, config_dir, tiny_set, tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.runner.log_processor.is_cuda_available', lambda: True)
    monkeypatch.setattr('mmengine.runner.LogProcessor._get_max_memory', lambda *_: 4321)
    config = write_config(tmp_path / 'mine.py', config_dir, tiny_set, 1)
    printed = run_tool('train', config, '--work-dir', tmp_path / 'run')
    assert re.search(r'Iter\(train\) \[1/1\].*  left: 0:00:00  memory: 4321 MB\n', printed)
    (row,) = rows_of(tmp_path / 'run')
    assert row['memory'] == 4321


def test_a_test_ends_in_the_table_and_tables_per_class_remain(
    whole, run_tool, config_dir, tiny_set, tmp_path
):
    config = write_config(tmp_path / 'mine.py', config_dir, tiny_set, ITERS)
    out = tmp_path / 'metrics.json'
    printed = run_tool(
        'test', config, whole[0] / 'iter_4.pth', '--work-dir', tmp_path / 'test',
        '--per-class', '--out-json', out,
    )  # fmt: skip
    metrics = json.loads(out.read_text())
    assert re.search(rf'\| panoptic \| PQ {metrics["panoptic/PQ"]:.2f} +\|', printed)
    assert 'PanopticQuality per class' in printed and 'Evaluation starts with' in printed
    assert 'System environment:' not in printed
    assert 'System environment:' in log_of(tmp_path / 'test')


def test_a_run_by_epochs_counts_them(train):
    more = """
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
train_dataloader.update(batch_size=8, sampler=dict(type='DefaultSampler', shuffle=True))
param_scheduler = dict(_delete_=True, type='PolyLR', power=0.9, begin=0, end=2)
default_hooks['checkpoint'].update(by_epoch=True)
default_hooks.update(curves=dict(type='TrainingCurves'))
log_processor = dict(by_epoch=True)
"""
    folder, printed = train(more)
    assert re.search(r'Epoch\(train\) +\[2\]\[1/2\]  loss: \d+\.\d{3} \(cls ', printed)
    assert 'validation after epoch 1 of 2, on 5 images' in printed
    assert 'the final validation, after epoch 2 of 2, on 5 images' in printed
    scores = [row for row in rows_of(folder) if 'loss' not in row]
    assert [row['step'] for row in scores] == [2, 4]
    points = curves_of(folder / 'epoch_2.pth')
    assert points['losses']['loss'][0] == [1, 2, 3, 4]
    assert points['metrics']['panoptic/PQ'][0] == [2]  # the file is older than the last validation
    assert cv2.imread(str(folder / 'curves.png')) is not None


def test_of_two_processes_one_tells(train):
    folder, printed = train(MORE, '--cfg-options', 'train_cfg.max_iters=2', iters=2, processes=2)
    assert printed.count('processes:            2 (launcher pytorch)') == 1
    assert printed.count('Iter(train) [2/2]') == printed.count('| panoptic | PQ') == 1
    assert printed.count('the final validation, after iteration 2 of 2') == 1
    assert curves_of(folder / 'iter_2.pth')['losses']['loss'][0] == [2]
    assert (folder / 'curves.png').is_file() and not list(folder.glob('.*'))


# curves


def test_points_of_the_curves_are_means_and_the_first_figure_of_each_task(whole):
    folder, _ = whole
    rows = rows_of(folder)
    losses = [row for row in rows if 'loss' in row]
    # the last checkpoint is written before the validation that follows it
    points = curves_of(folder / 'iter_4.pth')
    assert set(points['losses']) == {'loss', *(f'loss_{name}' for name in LOSSES)}
    for name, (places, values) in points['losses'].items():
        each = [row[name] for row in losses]
        assert places == [2, 4]
        assert values == pytest.approx([sum(each[:2]) / 2, sum(each[2:]) / 2], rel=1e-6)
    assert points['rates'] == {'base_lr': [[2, 4], [losses[1]['base_lr'], losses[3]['base_lr']]]}
    (scores, _) = [row for row in rows if 'loss' not in row]
    names = ('panoptic/PQ', 'instance/AP', 'semantic/mIoU')
    assert points['metrics'] == {name: [[2], [scores[name]]] for name in names}


def test_the_picture_shows_all_curves(whole, drawn_curves):
    from oneformer.training.curves import draw_curves

    image = cv2.imread(str(whole[0] / 'curves.png'))
    assert image.shape == (630, 990, 3)
    data = np.frombuffer(draw_curves('', {}, {}, {}), np.uint8)
    blank = cv2.imdecode(data, cv2.IMREAD_COLOR)
    for rows in (slice(30, 300), slice(340, 600)):
        for columns in (slice(50, 480), slice(540, 970)):
            assert (image[rows, columns] != blank[rows, columns]).any(axis=2).sum() > 300


def test_a_resumed_run_keeps_the_points_before_it(whole, train):
    folder, _ = whole
    again = folder.parent / 'again'
    again.mkdir()
    shutil.copy(folder / 'iter_3.pth', again)
    train(MORE, '--resume', again / 'iter_3.pth', folder=again)
    assert curves_of(again / 'iter_4.pth') == curves_of(folder / 'iter_4.pth')
    # the same picture, but for the name of the run above it
    ours, theirs = (cv2.imread(str(f / 'curves.png'))[30:] for f in (again, folder))
    assert (ours == theirs).all()


def test_a_run_resumed_from_a_checkpoint_without_points_begins_there(whole, train, tmp_path):
    content = read_pickle(whole[0] / 'iter_3.pth')
    del content['message_hub']['runtime_info']['curves']
    del content['message_hub']['resumed_keys']['curves']
    torch.save(content, tmp_path / 'old.pth')
    folder, _ = train(MORE, '--resume', tmp_path / 'old.pth')
    points = curves_of(folder / 'iter_4.pth')
    assert points['losses']['loss'][0] == [4] and not points['metrics']


def test_training_goes_on_where_the_picture_cannot_be_written(whole, train, tmp_path):
    folder = tmp_path / 'run'
    (folder / 'curves.png').mkdir(parents=True)
    _, printed = train(MORE, '--resume', whole[0] / 'iter_3.pth', folder=folder)
    assert printed.count(f'{folder}/curves.png could not be drawn (IsADirectoryError: ') == 1
    assert (folder / 'iter_4.pth').is_file() and not list(folder.glob('.*'))


def test_the_interval_of_the_curves_is_a_number_of_iterations():
    from oneformer.training import TrainingCurves

    with pytest.raises(ValueError, match=r'TrainingCurves.interval is 0: .*iterations from 1'):
        TrainingCurves(interval=0)


# the page


def snippets(root_dir):
    """Lines of config in docs/monitoring.md, by the name in their first line."""
    text = (root_dir / 'docs/monitoring.md').read_text()
    blocks = re.findall(r'```python\n# ([^\n]+)\n(.*?)```', text, re.DOTALL)
    assert text.count('```python') == len(blocks)
    return dict(blocks)


def write_snippets(root_dir, config_dir, tiny_set, folder, iters, *names):
    """A config as users write it: on another, with lines of the page."""
    write_config(folder / 'base.py', config_dir, tiny_set, iters)
    config = folder / 'mine.py'
    lines = [snippets(root_dir)[name] for name in names]
    config.write_text('\n'.join(["_base_ = 'base.py'", *lines]))
    return config


OFTEN = ('--cfg-options', 'train_cfg.val_begin=1', 'train_cfg.val_interval=1')


@pytest.fixture(scope='module')
def followed(trainer, root_dir, config_dir, tiny_set, tmp_path_factory):
    """A training by the lines of the page that need nothing more; its folder and screen."""
    home = tmp_path_factory.mktemp('followed')
    names = ('tensorboard', 'best checkpoint', 'early stopping')
    config = write_snippets(root_dir, config_dir, tiny_set, home, 9, *names)
    code, printed = trainer.run(config, home / 'run', *OFTEN, 'custom_hooks.0.patience=2')
    assert code == 0, printed[-3000:]
    return home / 'run', printed


@pytest.fixture
def follow(run_tool, root_dir, config_dir, tiny_set, tmp_path):
    """Train two iterations with lines of the page; returns the folder."""

    def run(*names, options=()):
        config = write_snippets(root_dir, config_dir, tiny_set, tmp_path, 2, *names)
        run_tool('train', config, '--work-dir', tmp_path / 'run', *OFTEN, *options)
        return tmp_path / 'run'

    return run


def test_the_page_has_all_snippets_in_six_lines(root_dir):
    names = ['tensorboard', 'wandb', 'mlflow', 'aim', 'pictures']
    names += ['best checkpoint', 'early stopping']
    assert list(snippets(root_dir)) == names
    assert all(len(lines.splitlines()) <= 6 for lines in snippets(root_dir).values())


def test_tensorboard_has_the_curves_at_their_iterations(followed):
    accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator',
        reason='installed by requirements/tests.txt',
    )
    folder, _ = followed
    (path,) = folder.glob('*/vis_data')
    events = accumulator.EventAccumulator(str(path)).Reload()
    losses = {row['step']: row['loss'] for row in rows_of(folder) if 'loss' in row}
    assert {e.step: e.value for e in events.Scalars('loss')} == pytest.approx(losses)
    steps = [row['step'] for row in rows_of(folder) if 'loss' not in row]
    assert [event.step for event in events.Scalars('panoptic/PQ')] == steps == [1, 2, 3]


def test_the_best_checkpoint_is_kept(followed):
    folder, _ = followed
    (best,) = folder.glob('best_*.pth')
    scores = {r['step']: r['panoptic/PQ'] for r in rows_of(folder) if 'loss' not in r}
    assert best.name == f'best_panoptic_PQ_iter_{max(scores, key=scores.get)}.pth'


def test_training_stops_early_with_its_last_checkpoint(followed):
    folder, printed = followed
    assert 'the monitored metric did not improve in the last 2 records' in printed
    assert printed.count('Iter(train)') == 3
    assert read_pickle(folder / 'iter_3.pth')['meta']['iter'] == 3


def test_wandb_keeps_a_run_without_a_network(follow, monkeypatch):
    pytest.importorskip('wandb', reason='a service of its own: pip install wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    (run,) = follow('wandb').glob('*/vis_data/wandb/offline-run-*/run-*.wandb')
    assert b'panoptic/PQ' in run.read_bytes()


def test_mlflow_keeps_a_run_in_a_file(follow):
    mlflow = pytest.importorskip('mlflow', reason='a service of its own: pip install mlflow')
    pytest.importorskip('sqlalchemy', reason='mlflow-skinny lacks it: pip install mlflow')
    follow('mlflow')
    client = mlflow.MlflowClient('sqlite:///mlflow.db')
    experiment = client.get_experiment_by_name('oneformer')
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, 'panoptic/PQ')
    assert [metric.step for metric in history] == [1, 2]
    assert run.data.params['train_cfg.type'] == 'OneFormerTrainLoop'


class AimRun:
    """Stands for ``aim.Run``: aim itself would replace other packages of this environment."""

    made = []

    def __init__(self, **options):
        self.options, self.tracked, self.content, self.is_closed = options, [], {}, False
        self.made.append(self)

    def track(self, value, name, step):
        self.tracked.append((name, step, value))

    def __setitem__(self, key, value):
        self.content[key] = value

    def close(self):
        self.is_closed = True


def test_aim_gets_figures_config_and_pictures_of_three_tasks(follow, monkeypatch):
    """Through mmengine's own backend, to a module with the parts of aim that it calls."""
    module = SimpleNamespace(Run=AimRun, Image=lambda array: np.asarray(array))
    monkeypatch.setitem(sys.modules, 'aim', module)
    monkeypatch.setattr(AimRun, 'made', [])
    every = ['default_hooks.visualization.interval=1']
    folder = follow('aim', 'pictures', options=every)
    (run,) = AimRun.made
    assert run.options == dict(repo='aim_runs', experiment='oneformer')
    assert run.content['hparams']['train_cfg']['type'] == 'OneFormerTrainLoop'
    rows = rows_of(folder)
    figures = {(name, step): value for name, step, value in run.tracked if name != 'val_img'}
    for row in rows:
        for name in {'panoptic/PQ', 'instance/AP', 'semantic/mIoU'} & set(row):
            assert figures[name, row['step']] == row[name]
        if 'loss' in row:
            assert figures['loss', row['step']] == pytest.approx(row['loss'])
    assert {step for name, step in figures if name == 'panoptic/PQ'} == {1, 2}
    # five images of each of two validations: image, ground truth and three predictions
    pictures = [(step, value) for name, step, value in run.tracked if name == 'val_img']
    assert [step for step, _ in pictures] == [1, 2, 3, 4, 5, 2, 3, 4, 5, 6]
    for _, picture in pictures:
        assert picture.dtype == np.uint8 and picture.shape[1] > 4 * picture.shape[0]
    assert run.is_closed
