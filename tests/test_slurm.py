"""Training and evaluation under a real Slurm with two tasks (`make test-slurm`)."""

import json
import shutil
import sys
import time

import pytest
import torch
from slurm_cluster import DAEMONS, PATH, TIMEOUT, SlurmCluster

pytestmark = pytest.mark.slurm
QUICKSTART = 'configs/oneformer_efficientnet-lite0_quickstart.py'
FAILING_HOOK = """
import os
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class FailOnOneTask(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3 and os.environ['SLURM_PROCID'] == '1':
            raise RuntimeError('the disk of task 1 is gone')
"""
ITERATIONS = 12  # more than 10: a warning is heeded at every fifth


@pytest.fixture(scope='module')
def cluster(root_dir):
    """A running Slurm; tests that need it are skipped where it cannot be had."""
    missing = [name for name in (*DAEMONS, 'srun') if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f'{missing} are not installed, see tests/install_slurm.sh')
    with SlurmCluster() as running:
        running.environment.update(
            ONEFORMER_PYTHON=sys.executable,
            OMP_NUM_THREADS='1',
            CUDA_VISIBLE_DEVICES='',
            CPUS_PER_TASK='1',
        )
        yield running


@pytest.fixture(scope='module')
def overrides(tiny_set):
    """The quick start in seconds, with a checkpoint every second iteration."""
    return [
        '--cfg-options',
        *[
            f'{loader}.dataset.data_root={tiny_set}/'
            for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        ],
        'model.backbone.pretrained=False',
        'train_dataloader.batch_size=1',
        f'train_cfg.max_iters={ITERATIONS}',
        'default_hooks.checkpoint.interval=2',
        'default_hooks.checkpoint.max_keep_ckpts=9',
    ]


@pytest.fixture(scope='module')
def submit(cluster, root_dir, tmp_path_factory):
    """Submit a batch job of two tasks; returns its number and its log."""

    def run(*arguments):
        log = tmp_path_factory.mktemp('job') / 'log'
        tasks = ('--ntasks-per-node=2', '--gres=gpu:2', '--cpus-per-task=1')
        result = cluster.run(
            'sbatch', '--parsable', f'--chdir={root_dir}', f'--output={log}', *tasks, *arguments
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip(), log

    return run


@pytest.fixture(scope='module')
def undisturbed(cluster, root_dir, overrides, tmp_path_factory):
    """The work folder of a run by tools/slurm_train.sh, from outside of any job."""
    folder = tmp_path_factory.mktemp('undisturbed')
    result = cluster.run(
        root_dir / 'tools/slurm_train.sh', 'debug', 'undisturbed',
        root_dir / QUICKSTART, folder, *overrides,
        GPUS='2',
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert 'processes:            2 (launcher slurm)' in result.stdout
    return folder


def weights(folder, iteration=ITERATIONS):
    return torch.load(folder / f'iter_{iteration}.pth', weights_only=False)['state_dict']


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different, f'{len(different)} of {len(one)} differ: {different[:3]}'


def kill(cluster, job):
    """End a job at once and queue it again, as a failing node does."""
    assert cluster.run('scancel', '--full', '--signal=KILL', job).returncode == 0
    cluster.wait_for(job, 'CANCELLED', 'FAILED', 'COMPLETED')
    assert cluster.run('scontrol', 'requeue', job).returncode == 0


def warn(cluster, job):
    """Send what Slurm sends ahead of the time limit; the job queues itself again."""
    assert cluster.run('scancel', '--batch', '--signal=USR1', job).returncode == 0


@pytest.mark.parametrize('disturb', [kill, warn])
def test_a_requeued_job_ends_with_the_weights_of_an_undisturbed_one(
    cluster, submit, undisturbed, root_dir, overrides, tmp_path, disturb
):
    work_dir = tmp_path / 'run'
    job, log = submit('tools/oneformer.sbatch', root_dir / QUICKSTART, work_dir, *overrides)
    deadline = time.monotonic() + TIMEOUT
    while not (work_dir / 'iter_2.pth').exists():
        assert time.monotonic() < deadline and cluster.field(job, 'JobState') != 'FAILED', (
            log.read_text()[-3000:]
        )
        time.sleep(0.1)
    disturb(cluster, job)
    assert not (work_dir / f'iter_{ITERATIONS}.pth').exists(), 'it was not disturbed midway'
    deadline = time.monotonic() + TIMEOUT
    while cluster.field(job, 'Restarts') != '1':
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.3)
    cluster.wait_for(job, 'COMPLETED')
    assert log.read_text().count('Training starts with') == 2
    assert 'resumed epoch: 0, iter: ' in log.read_text()
    assert_same_weights(weights(work_dir), weights(undisturbed))


def test_a_task_that_fails_ends_the_job_with_its_error(
    cluster, submit, root_dir, overrides, tmp_path
):
    (tmp_path / 'failing_hook.py').write_text(FAILING_HOOK)
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {str(root_dir / QUICKSTART)!r}\n'
        "custom_imports = dict(imports=['oneformer', 'failing_hook'])\n"
        "custom_hooks = [dict(type='FailOnOneTask')]\n"
    )
    work_dir = tmp_path / 'run'
    job, log = submit(
        f'--export=ALL,PYTHONPATH={tmp_path}',
        'tools/oneformer.sbatch',
        config,
        work_dir,
        *overrides,
    )
    cluster.wait_for(job, 'FAILED')
    assert 'RuntimeError: the disk of task 1 is gone' in log.read_text()
    assert time.time() - (work_dir / 'iter_2.pth').stat().st_mtime < 60
    assert not (work_dir / 'iter_4.pth').exists() and cluster.field(job, 'Restarts') == '0'


def test_dist_train_in_a_batch_job_starts_the_same_run(
    cluster, submit, undisturbed, root_dir, overrides, tmp_path
):
    command = ['tools/dist_train.sh', root_dir / QUICKSTART, 2, '--work-dir', tmp_path, *overrides]
    job, log = submit('--wrap', ' '.join(map(str, command)))
    cluster.wait_for(job, 'COMPLETED')
    assert 'processes:            2 (launcher pytorch)' in log.read_text()
    assert_same_weights(weights(tmp_path), weights(undisturbed))


def test_evaluation_on_two_tasks_equals_one_process(
    cluster, undisturbed, root_dir, overrides, run_tool, tmp_path
):
    arguments = (root_dir / QUICKSTART, undisturbed / f'iter_{ITERATIONS}.pth')
    result = cluster.run(
        root_dir / 'tools/slurm_test.sh', 'debug', 'evaluation', *arguments,
        '--out-json', tmp_path / 'two.json', '--work-dir', tmp_path / 'two', *overrides,
        GPUS='2',
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert '2 (1 per process x 2 processes)' in result.stdout
    run_tool('test', *arguments, '--out-json', tmp_path / 'one.json', *overrides)
    one, two = (json.loads((tmp_path / f'{name}.json').read_text()) for name in ('one', 'two'))
    assert one == two and 'panoptic/PQ' in one


def test_a_job_of_two_tasks_does_not_train_on_one(submit, cluster, root_dir):
    train = f'$ONEFORMER_PYTHON tools/train.py {QUICKSTART}'
    alone = f'{train} --work-dir /dev/null'
    job, log = submit('--wrap', f'{alone}; srun {alone}; exit 0')
    cluster.wait_for(job, 'COMPLETED')
    printed = log.read_text()
    assert 'this Slurm job has 2 tasks, and this would run on one' in printed
    assert printed.count('srun started 2 tasks, but without --launcher slurm') == 2
