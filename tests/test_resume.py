"""Training that is interrupted goes on as if nothing had happened, or says what is lost."""

import errno
import os
import pickle
import random
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupted import Trainer, kill_often, unfinished, write_config
from mmengine.runner import CheckpointLoader, checkpoint

from oneformer.host.checkpoint_files import (
    CheckpointNotWritten,
    DurableBackend,
    checkpoints,
    newest_readable,
    require_writable,
)
from oneformer.host.resuming import ResumableCheckpointHook
from oneformer.host.seeding import SeededIndices, random_states, restore_random_states, seeded_by
from oneformer.host.stopping import EXIT_CODE
from oneformer.host.unpickling import read_pickle

ITERS = 6


@pytest.fixture(scope='module')
def trainer(root_dir):
    """Runs tools/train.py in processes of their own."""
    trainer = Trainer(root_dir)
    yield trainer
    trainer.close()


@pytest.fixture(scope='module')
def config(tmp_path_factory, config_dir, tiny_set):
    return write_config(tmp_path_factory.mktemp('resume') / 'small.py', config_dir, tiny_set, ITERS)


@pytest.fixture(scope='module')
def undisturbed(trainer, config):
    """The folder of a run that nothing happened to; it holds the last two checkpoints."""
    folder = config.parent / 'undisturbed'
    code, log = trainer.run(config, folder)
    assert code == 0, log[-3000:]
    return folder


def saved(folder, count):
    """Whether so many iterations are saved, for ``Trainer.run``."""
    return lambda: (folder / f'iter_{count}.pth').exists()


def same(one, other):
    """Whether nested values are equal to the bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def assert_same_end(folder, other, name=f'iter_{ITERS}.pth'):
    """All that training goes on from is the same to the bit, but for clocks."""
    ours, theirs = (read_pickle(path / name) for path in (folder, other))
    for key in ('state_dict', 'optimizer', 'param_schedulers', 'progress'):
        assert same(ours[key], theirs[key]), key
    for curve in ('train/loss', 'train/loss_cls', 'train/lr'):
        histories = [c['message_hub']['log_scalars'][curve].data[0] for c in (ours, theirs)]
        assert np.array_equal(*histories), curve


def test_three_kills_change_nothing(trainer, config, undisturbed, tmp_path):
    folder = tmp_path / 'killed'
    generator = np.random.default_rng(0)
    kill_often(trainer, config, folder, generator, kills=3, duration=0.5)
    assert_same_end(folder, undisturbed)
    assert not unfinished(folder)
    assert {path.name for path in folder.glob('*.pth')} == {'iter_5.pth', 'iter_6.pth'}
    for path in folder.glob('*.pth'):
        read_pickle(path)


def test_a_signal_saves_and_stops_and_workers_change_nothing(
    trainer, config, undisturbed, tmp_path
):
    folder = tmp_path / 'stopped'
    # saves by itself only at the end
    options = ['--cfg-options', 'train_dataloader.num_workers=1']
    rarely = [*options, 'default_hooks.checkpoint.interval=2']
    code, log = trainer.run(config, folder, *rarely, until=saved(folder, 2), number=signal.SIGTERM)
    assert code == EXIT_CODE == 75, log[-3000:]
    newest = checkpoints(folder)[0]
    assert f'saved as {newest}' in log and 'SIGTERM' in log
    assert read_pickle(newest)['meta']['iter'] < ITERS
    code, log = trainer.run(config, folder, '--resume', *options)
    assert code == 0, log[-3000:]
    assert f'Load checkpoint from {newest}' in log
    assert_same_end(folder, undisturbed)


def test_an_epoch_goes_on_where_it_was_left(trainer, config_dir, tiny_set, tmp_path):
    epochs = """
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2, val_begin=100)
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=True, end=2)]
log_processor = dict(by_epoch=True)
train_dataloader['sampler'] = dict(type='DefaultSampler', shuffle=True)
default_hooks = dict(
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=5), logger=dict(interval=1)
)
"""
    config = write_config(tmp_path / 'epochs.py', config_dir, tiny_set, 16, epochs)
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    code, log = trainer.run(config, whole)
    assert code == 0, log[-3000:]

    def in_second_epoch():
        said = parts.with_suffix('.log')
        return said.exists() and 'Epoch(train) [2][2/8]' in said.read_text()

    code, log = trainer.run(config, parts, until=in_second_epoch, number=signal.SIGUSR1)
    assert code == EXIT_CODE, log[-3000:]
    code, log = trainer.run(config, parts, '--resume')
    assert code == 0, log[-3000:]
    assert 'epoch_1_iter_' in log
    assert_same_end(parts, whole, 'epoch_2.pth')


def test_two_processes_stop_together_and_go_on_to_the_bit(trainer, config, tmp_path):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    options = ['--cfg-options', 'default_hooks.checkpoint.interval=4']
    code, log = trainer.run(config, whole, *options, processes=2)
    assert code == 0, log[-3000:]
    until = saved(parts, 4)
    code, log = trainer.run(
        config, parts, *options, until=until, number=signal.SIGTERM, processes=2
    )
    assert code == EXIT_CODE, log[-3000:]
    code, log = trainer.run(config, parts, '--resume', *options, processes=2)
    assert code == 0, log[-3000:]
    assert_same_end(parts, whole)
    states = read_pickle(parts / 'iter_6.pth')['progress']['random_states']
    assert len(states) == 2 and not torch.equal(states[0]['torch'], states[1]['torch'])


def test_a_truncated_checkpoint_falls_back_to_the_one_before(
    trainer, config, undisturbed, tmp_path
):
    folder = tmp_path / 'moved'  # last_checkpoint names the folder that it was copied from
    shutil.copytree(undisturbed, folder)
    (folder / 'last_checkpoint').write_text('/nowhere/iter_6.pth')
    newest = folder / 'iter_6.pth'
    os.truncate(newest, newest.stat().st_size // 2)
    (folder / '.iter_7.pth.123.tmp').write_bytes(b'of a killed process')
    code, log = trainer.run(config, folder, '--resume', newest)
    assert code == 1 and f'training stopped: {newest} is broken' in log
    code, log = trainer.run(config, folder, '--resume')
    assert code == 0, log[-3000:]
    assert f'{newest} is broken' in log
    assert f'Going on from the one before, {folder / "iter_5.pth"}' in log
    assert_same_end(folder, undisturbed)
    assert not unfinished(folder)


def test_checkpoints_that_are_all_damaged_are_named(undisturbed, tmp_path):
    for name in ('iter_5.pth', 'iter_6.pth'):
        (tmp_path / name).write_bytes((undisturbed / name).read_bytes())
        with (tmp_path / name).open('r+b') as file:  # one bit, in the middle of the weights
            file.seek(3_000_000)
            byte = file.read(1)[0]
            file.seek(3_000_000)
            file.write(bytes([byte ^ 1]))
    with pytest.raises(ValueError, match='no checkpoint can be read') as raised:
        newest_readable(checkpoints(tmp_path))
    assert 'iter_5.pth' in str(raised.value) and 'iter_6.pth' in str(raised.value)


def test_a_malicious_checkpoint_is_passed_over_and_not_run(undisturbed, tmp_path, monkeypatch):
    # nobody has called use_safe_loaders
    monkeypatch.setitem(CheckpointLoader._schemes, '', checkpoint.load_from_local)

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'was run'),)

    good = tmp_path / 'iter_5.pth'
    shutil.copy(undisturbed / 'iter_5.pth', good)
    torch.save(dict(meta=Malicious()), tmp_path / 'iter_6.pth')
    assert newest_readable(checkpoints(tmp_path)) == good
    assert not (tmp_path / 'was run').exists()


def test_a_full_disk_stops_training_with_the_last_checkpoint_intact(trainer, config, tmp_path):
    folder = tmp_path / 'full'
    folder.mkdir()
    mounted = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=60m', 'tmpfs', folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip('no right to mount a tmpfs')
    try:
        code, log = trainer.run(config, folder)
        assert code == 1
        assert f'training stopped: {folder}/iter_3.pth could not be written' in log
        assert 'No space left on device' in log and 'make room' in log
        assert not unfinished(folder)
        assert newest_readable(checkpoints(folder)) == folder / 'iter_2.pth'
    finally:
        subprocess.run(['umount', folder], check=True)


def test_what_cannot_be_written_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / 'iter_1.pth'
    DurableBackend().put(b'old', path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(CheckpointNotWritten, match='iter_1.pth could not be written'):
        DurableBackend().put(b'new', path)
    assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


def test_an_unwritable_work_folder_stops_before_training(run_tool, config, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    for folder in (tmp_path / 'file/run', '/proc/run'):
        with pytest.raises(SystemExit, match=f'{folder} cannot be written to'):
            run_tool('train', config, '--work-dir', folder)


def test_training_goes_on_when_a_broken_image_is_repaired(
    trainer, config, undisturbed, tiny_set, tmp_path
):
    data, folder = tmp_path / 'data', tmp_path / 'run'
    shutil.copytree(tiny_set, data)
    seed = read_pickle(undisturbed / 'iter_6.pth')['progress']['sampler_seed']
    order = torch.randperm(16, generator=torch.Generator().manual_seed(seed)).tolist()
    image = sorted((data / 'train').iterdir())[order[9]]  # of the fifth iteration
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    options = ['--cfg-options', f'train_dataloader.dataset.data_root={data}/']
    options.append('train_dataloader.num_workers=1')
    code, log = trainer.run(config, folder, *options)
    assert code == 1 and f'image {image} is damaged' in log
    assert newest_readable(checkpoints(folder)) == folder / 'iter_4.pth'
    image.write_bytes(whole)
    code, log = trainer.run(config, folder, '--resume', *options)
    assert code == 0, log[-3000:]
    assert_same_end(folder, undisturbed)


def test_a_checkpoint_without_random_states_says_what_is_lost(
    run_tool, config, undisturbed, tmp_path
):
    content = read_pickle(undisturbed / 'iter_5.pth')
    del content['progress']
    torch.save(content, tmp_path / 'old.pth')
    run_tool('train', config, '--work-dir', tmp_path / 'run', '--resume', tmp_path / 'old.pth')
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert 'old.pth has no random states and no seed of the data order' in log.read_text()


def test_a_missed_validation_is_made_up_for_and_changes_no_weights(
    run_tool, config, undisturbed, tmp_path
):
    folder = tmp_path / 'run'
    folder.mkdir()
    shutil.copy(undisturbed / 'iter_5.pth', folder)
    run_tool(
        'train', config, '--work-dir', folder, '--resume', '--cfg-options',
        'train_cfg.val_begin=1', 'train_cfg.val_interval=5',
        'default_hooks.checkpoint.save_best=panoptic/PQ',
    )  # fmt: skip
    (log,) = folder.glob('*/*.log')
    said = log.read_text()
    assert said.index('Iter(val)') < said.index('Iter(train) [6/6]')
    assert len(list(folder.glob('best_panoptic_PQ_iter_*.pth'))) == 1
    ends = [read_pickle(path / 'iter_6.pth') for path in (folder, undisturbed)]
    assert same(*(end['state_dict'] for end in ends))
    assert same(*(end['progress']['random_states'] for end in ends))


def test_a_sample_depends_on_its_place_alone():
    class Stream:
        seed, rank, world_size = 5, 1, 2

        def __iter__(self):
            return iter([3, 3, 4])

    places = list(SeededIndices(Stream()))
    assert [int(place) for place in places] == [3, 3, 4]
    assert [place.key for place in places] == [(5, 0, 1), (5, 0, 3), (5, 0, 5)]

    def draw():
        return np.random.rand(), torch.rand(()).item(), random.random()

    before = random_states()
    draws = []
    for place in places + [pickle.loads(pickle.dumps(places[0]))]:
        with seeded_by(place):
            draws.append(draw())
    assert same(random_states(), before)
    assert draws[0] == draws[3] and len(set(sum(draws[:3], ()))) == 9
    states = random_states()
    first = draw()
    restore_random_states(states)
    assert draw() == first


MORE = """
randomness = dict(seed=None)
optim_wrapper = dict(accumulative_counts=2)
model['contrastive_loss'] = dict(memory=4)
custom_hooks = [dict(type='EMAHook')]
default_hooks = dict(checkpoint=dict(interval={interval}, max_keep_ckpts=5))
"""


def test_accumulation_averaged_weights_and_memory_go_on_to_the_bit_whatever_the_seed(
    trainer, config_dir, tiny_set, tmp_path
):
    more = MORE.format(interval=2)
    config = write_config(tmp_path / 'more.py', config_dir, tiny_set, ITERS, more)
    whole, part = tmp_path / 'whole', tmp_path / 'part'
    code, log = trainer.run(config, whole)
    assert code == 0, log[-3000:]
    assert 'not a multiple of accumulative_counts' not in log
    part.mkdir()
    shutil.copy(whole / 'iter_2.pth', part)
    code, log = trainer.run(config, part, '--resume')
    assert code == 0, log[-3000:]
    assert_same_end(part, whole)
    end = read_pickle(part / 'iter_6.pth')
    assert same(end['ema_state_dict'], read_pickle(whole / 'iter_6.pth')['ema_state_dict'])
    assert any('memory' in name for name in end['state_dict'])


def test_checkpoints_between_the_steps_of_the_optimizer_are_warned_of(
    run_tool, config_dir, tiny_set, undisturbed, tmp_path
):
    more = MORE.format(interval=3)
    config = write_config(tmp_path / 'more.py', config_dir, tiny_set, ITERS, more)
    run_tool(
        'train', config, '--work-dir', tmp_path / 'run', '--resume', undisturbed / 'iter_5.pth',
        '--cfg-options', 'train_cfg.val_interval=5', 'default_hooks.checkpoint.save_best=auto',
    )  # fmt: skip
    (log,) = (tmp_path / 'run').glob('*/*.log')
    said = log.read_text()
    assert 'checkpoint.interval is 3 iterations, which is not a multiple of accumulative_c' in said
    assert 'train_cfg.val_interval is 5 iterations, which is not a multiple' in said
    assert 'of other settings: accumulative_counts was 1 and is 2' in said


def test_a_loss_scale_that_was_off_does_not_stop_one_that_is_on(undisturbed):
    class Resuming:
        _resume, optim_wrapper = True, None

    checkpoint = dict(optimizer=dict(state={0: dict(step=torch.tensor(3.0))}, loss_scaler={}))
    ResumableCheckpointHook(by_epoch=False, interval=1).after_load_checkpoint(Resuming, checkpoint)
    assert 'loss_scaler' not in checkpoint['optimizer']  # or torch would raise
    on = dict(optimizer=dict(state={}, loss_scaler=dict(scale=2.0)))
    ResumableCheckpointHook(by_epoch=False, interval=1).after_load_checkpoint(Resuming, on)
    assert on['optimizer']['loss_scaler'] == dict(scale=2.0)


def test_a_copied_folder_goes_on_from_its_own_files(undisturbed, tmp_path):
    copy = tmp_path / 'copy'
    shutil.copytree(undisturbed, copy)
    assert (copy / 'last_checkpoint').read_text() == str(undisturbed / 'iter_6.pth')
    assert checkpoints(copy) == [copy / 'iter_6.pth', copy / 'iter_5.pth']


def test_the_best_checkpoint_of_the_run_that_this_goes_on_from_stays(
    run_tool, config, undisturbed, tmp_path
):
    other, folder = tmp_path / 'other', tmp_path / 'run'
    other.mkdir()
    best = other / 'best_panoptic_PQ_iter_4.pth'
    best.write_bytes(b'of another run')
    content = read_pickle(undisturbed / 'iter_5.pth')
    content['message_hub']['runtime_info'].update(best_ckpt=str(best), best_score=-1.0)
    torch.save(content, other / 'iter_5.pth')
    run_tool(
        'train', config, '--work-dir', folder, '--resume', other / 'iter_5.pth', '--cfg-options',
        'train_cfg.val_begin=1', 'default_hooks.checkpoint.save_best=panoptic/PQ',
    )  # fmt: skip
    assert len(list(folder.glob('best_panoptic_PQ_iter_*.pth'))) == 1
    assert best.read_bytes() == b'of another run'


def test_ranks_of_the_same_number_on_several_nodes_do_not_take_each_others_probe(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(os, 'getpid', lambda: 7)  # as in containers
    monkeypatch.setattr(Path, 'unlink', lambda *args, **kwargs: None)
    for rank in range(2):
        monkeypatch.setenv('RANK', str(rank))
        require_writable(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_to_resume_starts_anew(run_tool, config, tmp_path):
    once = ['--cfg-options', 'train_cfg.max_iters=1']
    run_tool('train', config, '--work-dir', tmp_path / 'run', '--resume', 'auto', *once)
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert f'nothing to resume in {tmp_path}/run: training starts anew' in log.read_text()
