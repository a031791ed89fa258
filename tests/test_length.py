"""One setting changes the length of training; what does not fit it is told at the start."""

import re
from types import SimpleNamespace

import pytest
import torch
from interrupted import write_config
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import IterBasedTrainLoop
from runs import forget_runs
from torch import nn

from oneformer.host.pace import PaceLine, duration
from oneformer.host.rehearsal import Length, Rehearsal
from oneformer.host.rescheduling import follow_config
from oneformer.host.schedule_check import examine_schedule
from oneformer.host.train_loop import settle_length
from oneformer.host.unpickling import read_pickle

BASE = 1e-3


def poly(k, length, base=8e-4):
    """The rate that the quick start has at iteration k."""
    warmup = min(50, length // 10)
    if k < warmup:
        return base * (0.01 + 0.99 * k / warmup)
    return base * (1 - (k - warmup) / (length - warmup)) ** 0.9


def examined(schedulers, iterations=8, epochs=None, done=0):
    """Rates, and what is told of a schedule; with epochs, each of them has 4 iterations."""
    length = Length(epochs * 4 if epochs else iterations, epochs or 1, 4, bool(epochs))
    loop = SimpleNamespace(max_iters=length.iterations, max_epochs=length.epochs)
    if not epochs:
        loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
        loop._max_iters, loop._max_epochs = iterations, 1
    built = Rehearsal(schedulers, [BASE], length).schedulers
    runner = SimpleNamespace(
        cfg=dict(param_scheduler=schedulers),
        param_schedulers=built,
        train_loop=loop,
        train_dataloader=[None] * 4,
        iter=done,
    )
    rates, warnings = examine_schedule(runner, BASE)
    return rates, '\n'.join(warnings)


ITERATIONS = dict(by_epoch=False)


@pytest.mark.parametrize(
    ('schedulers', 'told'),
    [
        (
            [dict(type='PolyLR', power=0.9, end=4, **ITERATIONS)],
            'the learning rate is 0 from iteration 4 of 8 on.*PolyLR with end=4',
        ),
        (  # a warm-up before it changes nothing
            [
                dict(type='LinearLR', start_factor=0.1, begin=0, end=2, **ITERATIONS),
                dict(type='CosineAnnealingLR', T_max=3, begin=2, end=5, **ITERATIONS),
            ],
            'the schedule ends at iteration 5 of 8|the learning rate is 0 from',
        ),
        (
            [dict(type='PolyLR', power=0.9, eta_min=1e-5, end=4, **ITERATIONS)],
            'the schedule ends at iteration 4 of 8: the learning rate stays at 1e-05',
        ),
        (
            [dict(type='MultiStepLR', milestones=[3], end=5, **ITERATIONS)],
            'the schedule ends at iteration 5 of 8: the learning rate stays at 0.0001',
        ),
        (
            [dict(type='PolyLR', power=0.9, end=700, **ITERATIONS)],
            'PolyLR goes on to iteration 700 .end., and the run ends at 8: the learning rate of '
            'the last iteration is still 0.00099',
        ),
        (
            [dict(type='CosineAnnealingLR', T_max=100, **ITERATIONS)],
            'CosineAnnealingLR goes on to iteration 100 .T_max., and the run ends at 8',
        ),
        (
            [dict(type='MultiStepLR', milestones=[4, 8, 80], **ITERATIONS)],
            r'MultiStepLR has milestones=\[8, 80\], which are not reached: .* at iteration 8',
        ),
        ([dict(type='StepLR', step_size=30, **ITERATIONS)], 'step_size=30, and it or the run ends'),
        (  # by_epoch is mmengine's default
            [dict(type='MultiStepLR', milestones=[3])],
            'MultiStepLR counts epochs .by_epoch=True, the default., and the training loop counts '
            'iterations: it never steps',
        ),
        (
            [dict(type='OneCycleLR', eta_max=0.1, total_steps=5, end=8, **ITERATIONS)],
            'training will stop at iteration',
        ),
    ],
)
def test_a_schedule_that_does_not_fit_the_iterations_is_told(schedulers, told):
    assert re.search(told, examined(schedulers)[1])


@pytest.mark.parametrize(
    ('schedulers', 'told'),
    [
        (
            [dict(type='PolyLR', power=0.9, end=3)],
            'the learning rate is 0 from iteration 9 of 12 on.*set end=4',
        ),
        (
            [dict(type='PolyLR', power=0.9, end=2, convert_to_iter_based=True)],
            'the learning rate is 0 from iteration 8 of 12 on',
        ),
        (
            [dict(type='MultiStepLR', milestones=[2, 11])],
            r'milestones=\[11\], which are not reached: it or the run ends at epoch 3',
        ),
        (
            [dict(type='LinearLR', start_factor=0.1, end=500, **ITERATIONS)],
            'LinearLR goes on to iteration 500 .end., and the run ends at 12',
        ),
    ],
)
def test_a_schedule_that_does_not_fit_the_epochs_is_told(schedulers, told):
    assert re.search(told, examined(schedulers, epochs=3)[1])


@pytest.mark.parametrize(
    ('schedulers', 'run'),
    [
        ([], {}),
        ([dict(type='WholeRunPolyLR', **ITERATIONS)], {}),
        ([dict(type='WholeRunPolyLR', warmup=5, **ITERATIONS)], dict(iterations=100)),
        ([dict(type='WholeRunMultiStepLR', steps=[50, 90], of=100, **ITERATIONS)], {}),
        ([dict(type='PolyLR', power=0.9, **ITERATIONS)], {}),  # only the last step is at 0
        ([dict(type='PolyLR', power=0.9, end=9, **ITERATIONS)], {}),  # the original's formula
        ([dict(type='CosineAnnealingLR', **ITERATIONS)], {}),
        ([dict(type='LinearLR', start_factor=0.1, end=4, **ITERATIONS)], {}),  # a warm-up alone
        ([dict(type='ReduceOnPlateauLR')], dict(epochs=3)),
        (  # as configs of mmdet have it
            [
                dict(type='LinearLR', start_factor=0.001, begin=0, end=4, **ITERATIONS),
                dict(type='MultiStepLR', begin=0, end=3, by_epoch=True, milestones=[1, 2]),
            ],
            dict(epochs=3),
        ),
        ([dict(type='WholeRunPolyLR', **ITERATIONS)], dict(epochs=3)),
    ],
)
def test_a_schedule_that_fits_is_not_warned_of(schedulers, run):
    assert examined(schedulers, **run)[1] == ''


def test_whole_run_schedules_combine_and_refuse():
    rates, _ = examined(
        [
            dict(type='LinearLR', start_factor=0.5, begin=0, end=4, **ITERATIONS),
            dict(type='WholeRunPolyLR', power=1, begin=4, **ITERATIONS),
        ]
    )
    assert rates[3:] == pytest.approx([BASE, BASE, BASE * 0.75, BASE * 0.5, BASE * 0.25])
    rates, _ = examined([dict(type='WholeRunPolyLR', power=1, eta_min=BASE / 2, **ITERATIONS)])
    assert rates[4] == pytest.approx(BASE * 0.75)
    # milestones of this very run, as a config of mmdet would set them
    step = dict(type='WholeRunMultiStepLR', steps=[50], of=100, milestones=[2], **ITERATIONS)
    assert examined([step])[0][1:3] == pytest.approx([BASE, BASE / 10])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1)
    for config, message in (
        (dict(type='WholeRunPolyLR'), 'needs the length of the run as end'),
        (dict(type='WholeRunPolyLR', begin=8, end=8), 'begins at iteration 8, and the run ends'),
        (dict(type='WholeRunPolyLR', end=8, warmup=-1), 'has warmup=-1'),
        (dict(type='WholeRunMultiStepLR', end=8, steps=[9], of=8), r'steps=\[9\] and of=8'),
    ):
        with pytest.raises(ValueError, match=message):
            PARAM_SCHEDULERS.build(config, default_args=dict(optimizer=optimizer))


# runs


@pytest.fixture(scope='module')
def small_config(tmp_path_factory, config_dir, tiny_set):
    """A config of a small model that builds on the quick start, without a length of its own."""

    def write(more=''):
        path = tmp_path_factory.mktemp('length') / 'small.py'
        write_config(path, config_dir, tiny_set, 6)
        text = path.read_text()
        start, end = text.index('max_iters ='), text.index('default_hooks')
        path.write_text(text[:start] + text[end:] + more)
        return path

    return write


@pytest.fixture
def starts_with(run_tool, small_config, tmp_path):
    """Facts and warnings of a dry run."""

    def run(more='', *options):
        arguments = ['--cfg-options', *options] if options else []
        printed = run_tool(
            'train', small_config(more), '--work-dir', tmp_path / 'dry', '--dry-run', *arguments
        )
        lines = printed[printed.index('Training starts with') :].splitlines()[1:]
        facts = dict(line.strip().split(':', 1) for line in lines if line.startswith('  '))
        told = '\n'.join(line for line in printed.splitlines() if 'mmengine - ' in line)
        return {name: value.strip() for name, value in facts.items()}, told

    return run


@pytest.mark.parametrize(
    ('more', 'options'),
    [
        ('', ['train_cfg.max_iters=2000']),
        ('', ['max_iters=2000']),
        ('max_iters = 2000\n', []),
        ('train_cfg = dict(max_iters=2000)\n', []),
        ('max_iters = 5\n', ['train_cfg.max_iters=2000']),  # the command line wins
        ('train_cfg = dict(max_iters=5)\n', ['max_iters=2000']),
    ],
)
def test_one_setting_changes_the_length_and_all_that_follows(starts_with, more, options):
    facts, told = starts_with(more, *options)
    assert facts['length'] == '2000 iterations = 250 epochs'
    last = poly(1999, 2000)
    assert facts['schedule'].endswith(f'{last:.3g} at the last one, 2000')
    assert facts['validations'] == '1, after iteration 2000, on 5 images'
    assert facts['checkpoints'].startswith('2000, after iterations 1, 2, ..., 2000; the last 2')
    assert not re.search('has no effect|the schedule|from iteration', told)


def test_of_two_lengths_in_a_config_its_own_line_wins_and_is_told(starts_with):
    facts, told = starts_with('max_iters = 30\ntrain_cfg = dict(max_iters=20, val_interval=9)\n')
    assert facts['length'] == '30 iterations = 3.75 epochs'
    assert facts['validations'].startswith('4, after iterations 9, 18, 27, 30')
    assert "30 iterations long, by the config's own max_iters; train_cfg.max_iters=20" in told


def test_two_lengths_on_the_command_line_are_refused(starts_with):
    with pytest.raises(SystemExit, match='max_iters=3 and train_cfg.max_iters=4 are both'):
        starts_with('', 'max_iters=3', 'train_cfg.max_iters=4')
    with pytest.raises(SystemExit, match="max_iters is '2k': it takes a number of iterations"):
        starts_with('', 'max_iters=2k')
    with pytest.raises(ValueError, match='train_cfg.max_iters is 0: it takes a number'):
        starts_with('', 'train_cfg.max_iters=0')
    with pytest.raises(ValueError, match=r'max_epochs is 10.*is 8 iterations here.*max_iters=80'):
        starts_with('', 'train_cfg.max_epochs=10')


def test_the_length_reaches_any_loop_over_iterations():
    cfg = Config(dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=7), max_iters=9))
    settle_length(cfg, None)
    assert cfg.train_cfg.max_iters == 9
    epochs = Config(dict(train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=7), max_iters=9))
    settle_length(epochs, None)
    assert 'max_iters' not in epochs.train_cfg


EPOCHS = """
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
param_scheduler = [dict(type='PolyLR', power=0.9, end=2)]
train_dataloader.update(sampler=dict(type='{sampler}', shuffle=True))
default_hooks['checkpoint'] = dict(by_epoch=True, interval=1, save_best='auto', max_keep_ckpts=-1)
log_processor = dict(by_epoch=True)
max_iters = 9
"""


def test_a_run_by_epochs_is_told_in_epochs(starts_with):
    facts, told = starts_with(EPOCHS.format(sampler='DefaultSampler'))
    assert facts['length'] == '2 epochs of 8 iterations = 16 iterations'
    assert facts['validations'] == '2, after epochs 1, 2, on 5 images'
    assert facts['checkpoints'] == '2, after epochs 1, 2; and the best (save_best: auto)'
    assert 'the learning rate is 0 from iteration 9 of 16 on' in told
    assert 'max_iters=9 of the config has no effect' in told and 'set train_cfg.max_epochs' in told


def test_an_epoch_that_never_ends_is_refused(starts_with):
    with pytest.raises(SystemExit, match='InfiniteSampler never ends one.*DefaultSampler'):
        starts_with(EPOCHS.format(sampler='InfiniteSampler'))


def test_hooks_that_count_epochs_in_a_run_by_iterations_are_told(starts_with):
    more = """
train_dataloader.update(sampler=dict(type='DefaultSampler', shuffle=True))
default_hooks['checkpoint'].update(by_epoch=True)
log_processor = dict(by_epoch=True)
"""
    _, told = starts_with(more, 'train_cfg.max_iters=16')
    assert 'mmengine waits 2 s, after each of 2 passes over the set' in told
    assert 'default_hooks.checkpoint counts epochs' in told
    assert 'log_processor counts epochs' in told


# resumed


def log_of(folder):
    """The newest log of a run."""
    return sorted(folder.glob('*/*.log'), key=lambda path: path.stat().st_mtime)[-1].read_text()


@pytest.fixture(scope='module')
def first_steps(small_config, tmp_path_factory, load_tool):
    """Trains a config for three iterations in this process; returns the checkpoint."""

    def train(more, name):
        folder = tmp_path_factory.mktemp(name)
        config = small_config(more)
        forget_runs()
        with pytest.MonkeyPatch.context() as patch:
            options = ['--cfg-options', 'train_cfg.max_iters=3']
            arguments = ['train.py', str(config), '--work-dir', str(folder), *options]
            patch.setattr('sys.argv', arguments)
            load_tool('train').main()
        return config, folder / 'iter_3.pth'

    return train


@pytest.mark.parametrize(
    ('more', 'rates'),
    [
        ('', [poly(k, 6) for k in range(6)]),
        (  # mmengine restores the end of 3, at which the rate is 0
            "param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False)]\n",
            [8e-4 * (1 - k / 5) ** 0.9 for k in range(6)],
        ),
        (
            "param_scheduler = [dict(type='LinearLR', start_factor=0.5, by_epoch=False, end=2), "
            "dict(type='CosineAnnealingLR', by_epoch=False, begin=2)]\n",
            None,
        ),
    ],
)
def test_a_longer_run_goes_on_by_the_new_schedule(run_tool, first_steps, tmp_path, more, rates):
    config, checkpoint = first_steps(more, 'first')
    folder = tmp_path / 'longer'
    options = ['--cfg-options', 'train_cfg.max_iters=6', 'optim_wrapper.optimizer.lr=8e-4']
    run_tool('train', config, '--work-dir', folder, '--resume', checkpoint, *options)
    end = read_pickle(folder / 'iter_6.pth')
    curve = end['message_hub']['log_scalars']['train/base_lr'].data[0]
    if rates is None:  # what a run of that length has from the start
        schedulers = Config.fromfile(config).param_scheduler
        rates = [rate * 8e-4 / BASE for rate in examined(schedulers, iterations=6)[0]]
    assert list(curve[3:]) == pytest.approx(rates[3:], rel=1e-9, abs=1e-20)
    log = log_of(folder)
    assert "the config's schedule is not that of the checkpoint" in log and '3 and is 6' in log
    assert 'length:               6 iterations = 0.75 epochs; goes on at iteration 4 of 6' in log


def test_a_resumed_run_that_is_done_or_has_another_rate_says_so(run_tool, first_steps, tmp_path):
    config, checkpoint = first_steps('', 'done')
    options = ['--cfg-options', 'train_cfg.max_iters=3', 'optim_wrapper.optimizer.lr=1e-4']
    folder = tmp_path / 'done'
    run_tool('train', config, '--work-dir', folder, '--resume', checkpoint, *options)
    log = log_of(folder)
    assert '3 are done, so nothing is left. Raise train_cfg.max_iters' in log
    assert 'learning rate of its checkpoint, 0.0008' in log
    assert 'optim_wrapper.optimizer.lr=0.0001' in log
    assert "the config's schedule is not" not in log  # as it was, to the bit


def test_epochs_go_on_by_the_new_schedule():
    configs = [dict(type='MultiStepLR', milestones=[1, 3])]
    short, long = Length(8, 2, 4, True), Length(16, 4, 4, True)
    before = Rehearsal(configs, [1.0, 0.1], short)
    for _ in range(8):
        before.advance()
    changed = [dict(type='PolyLR', power=1, end=5)]
    optimizer = before.optimizer
    loop = SimpleNamespace(max_iters=16, max_epochs=4)
    runner = SimpleNamespace(
        cfg=dict(param_scheduler=changed),
        param_schedulers=Rehearsal(changed, [1.0], long).schedulers,
        optim_wrapper=optimizer,
        train_loop=loop,
        train_dataloader=[None] * 4,
        iter=8,
    )
    ours = runner.param_schedulers[0]
    ours.optimizer = optimizer
    ours.load_state_dict(before.schedulers[0].state_dict())  # as mmengine does
    follow_config(runner)
    assert [group['lr'] for group in optimizer.param_groups] == pytest.approx([0.5, 0.05])
    assert ours.end == 5 and not hasattr(ours, 'milestones')
    ours.step()
    assert [group['lr'] for group in optimizer.param_groups] == pytest.approx([0.25, 0.025])


# the pace


def test_the_pace_is_told_once_without_validation(monkeypatch):
    told, clock = [], iter([10.0, 12.0, 112.0, 141.0])
    monkeypatch.setattr('oneformer.host.pace.time.monotonic', lambda: next(clock))
    logger = SimpleNamespace(info=told.append)
    runner = SimpleNamespace(iter=0, max_iters=1000, logger=logger)
    hook = PaceLine()
    hook.before_train(runner)
    for k in range(50):
        runner.iter = k
        hook.after_train_iter(runner, k)
        if k == 9:
            hook.before_val(runner)
            hook.after_val(runner)
    # 31 s for 15 iterations, beside 100 s of validation
    assert told == [
        'an iteration takes 2.07 s (mean of the 15 up to iteration 20): 33.8 min left for 980 '
        'iterations, 34.4 min in all for 1000, without validation'
    ]
    assert [duration(x) for x in (3, 600, 2e4, 4e5)] == ['3 s', '10 min', '5.56 h', '4.63 days']
