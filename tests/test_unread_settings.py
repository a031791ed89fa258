"""Lines of a config that change nothing are named, and no line of a shipped one is."""

import re

import pytest
from mmengine.config import Config

from oneformer.host.unread_settings import unread_settings


@pytest.fixture
def unread(config_dir, tmp_path):
    """What is told of a user's config with these lines, and options of the command line."""

    def run(lines='', base='oneformer_r50_coco.py', **options):
        path = tmp_path / 'mine.py'
        path.write_text(f'_base_ = {str(config_dir / base)!r}\n{lines}')
        cfg = Config.fromfile(path)
        cfg.merge_from_dict({name.replace('__', '.'): value for name, value in options.items()})
        return '\n'.join(unread_settings(cfg))

    return run


def test_no_line_of_a_shipped_config_is_named_as_it_is_or_as_a_run_writes_it_down(
    config_dir, tmp_path
):
    names = [path for path in config_dir.rglob('*.py') if '_base_' not in path.parts]
    assert len(names) > 40
    for number, path in enumerate(names):
        cfg = Config.fromfile(path)
        assert unread_settings(cfg) == [], path
        if number % 6 == 0 or 'your_data' in path.parts:
            cfg.dump(tmp_path / 'config.py')
            assert unread_settings(Config.fromfile(tmp_path / 'config.py')) == [], path


@pytest.mark.parametrize(
    ('line', 'told'),
    [
        ('max_iter = 5', 'max_iter=5 of the config has no effect.*: set train_cfg.max_iters'),
        ('max_epochs = 10', 'max_epochs=10 .*: set train_cfg.max_iters'),
        ('lr = 1e-5', 'lr=1e-05 .*: set optim_wrapper.optimizer.lr'),
        ('learning_rate = 1', 'learning_rate=1 .*: set optim_wrapper.optimizer.lr'),
        ('batch_size = 2', 'batch_size=2 .*: set train_dataloader.batch_size'),
        ("optimizer = dict(type='SGD', lr=1)", 'optimizer of .*: set optim_wrapper.optimizer'),
        ('seed = 3', 'seed=3 .*: set randomness.seed'),
        ("resume_from = 'x.pth'", "resume_from='x.pth' .*: set resume and load_from"),
        ('trian_dataloader = dict(batch_size=7)', 'trian_dataloader .* mean train_dataloader'),
        ('param_schedulers = [1]', 'param_schedulers of .* did you mean param_scheduler'),
        ("data_root = 'mine/'", 'data_root=.* other settings were made of it before, and keep'),
        ('train_pipeline = []', 'train_pipeline of .*: set train_dataloader.dataset.pipeline'),
        ('my_size = 512', 'my_size=512 of the config has no effect, since nothing reads it$'),
    ],
)
def test_a_line_that_nothing_reads_is_named(unread, line, told):
    assert re.search(told, unread(f'{line}\n'))


@pytest.mark.parametrize(
    'lines',
    [
        'max_iters = 5\n',
        'epochs = 12\ntrain_cfg = dict(max_iters=epochs * 7000)\n',
        'val = dict(val_interval=7)\ntrain_cfg = dict(**val)\n',
        "root = _base_.data_root\nval_dataloader = dict(dataset=dict(data_root=f'{root}val/'))\n",
        'edges = [e for e in (1, 2)]\ntta = dict(short_edges=edges)\n',
        "data_root = 'data/coco/'\n",  # as it was
        'custom_hooks = []\nsync_bn = None\nfind_unused_parameters = True\n',
    ],
)
def test_variables_and_settings_are_not_named(unread, lines):
    assert unread(lines) == ''


def test_what_the_command_line_cannot_change_any_more_is_named(unread):
    told = unread(
        'size = 3\ntta = dict(max_size=size)\n',
        data_root='mine/', size=4, lr=2, optim_wraper__optimizer__lr=3, train_cfg__max_iters=9,
    )  # fmt: skip
    assert "data_root='mine/' of the command line has no effect, since other settings were" in told
    assert 'size=4 of the command line has no effect, since other settings were made' in told
    assert 'lr=2 of the command line has no effect, since nothing reads it' in told
    assert 'optim_wraper of the command line' in told and 'did you mean optim_wrapper?' in told
    assert 'max_iters' not in told


def test_a_loop_over_epochs_reads_no_iterations(unread):
    loop = "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2)\n"
    assert 'max_iters=5 of the config has no effect' in unread(f'{loop}max_iters = 5\n')
    assert 'set train_cfg.max_epochs' in unread(f'{loop}max_iters = 5\n')


def test_the_log_names_them(run_tool, config_dir, tiny_set, tmp_path):
    config = tmp_path / 'mine.py'
    base = str(config_dir / 'oneformer_efficientnet-lite0_quickstart.py')
    config.write_text(f'_base_ = {base!r}\nmax_iter = 5\n')
    printed = run_tool(
        'train', config, '--dry-run', '--cfg-options', 'model.backbone.pretrained=False',
        f'train_dataloader.dataset.data_root={tiny_set}/',
        f'val_dataloader.dataset.data_root={tiny_set}/', 'batch_size=2',
    )  # fmt: skip
    told = printed[printed.index('Training starts with') :]
    assert 'max_iter=5 of the config has no effect' in told
    assert 'batch_size=2 of the command line has no effect' in told
