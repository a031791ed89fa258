"""How runs are started: the launchers by their dry run, refusals, and what the log says first."""

import os
import shlex
import signal
import subprocess
import sys

import pytest
import torch

from oneformer.host.launch import check_launch, slurm_variables
from oneformer.kernels.attention_paths import PATHS, choose_path
from oneformer.training.banner import (
    describe_batch,
    describe_devices,
    describe_learning_rate,
)

QUICKSTART = 'configs/oneformer_efficientnet-lite0_quickstart.py'
BATCH = dict(SLURM_JOB_ID='7', SLURM_NTASKS='16', SLURM_JOB_NUM_NODES='2', SLURM_PROCID='0')
STEP = dict(
    BATCH,
    SLURM_STEP_ID='3',
    SLURM_STEP_NUM_TASKS='16',
    SLURM_STEP_NUM_NODES='2',
    SLURM_STEP_NODELIST='gpu[08-09]',
    SLURM_PROCID='9',
    SLURM_LOCALID='1',
    SLURM_NODEID='1',
    SLURM_JOB_NODELIST='gpu[08-09]',
    SLURM_CPUS_ON_NODE='40',
)


@pytest.fixture
def dry_run(root_dir):
    """What a launcher would start, as words; or its error, if it stops."""

    def run(name, *arguments, **variables):
        others = {name: value for name, value in os.environ.items() if 'SLURM' not in name}
        result = subprocess.run(
            [root_dir / 'tools' / name, *map(str, arguments), '--dry-run'],
            env={**others, 'ONEFORMER_PYTHON': sys.executable, **variables},
            text=True,
            capture_output=True,
        )
        return shlex.split(result.stdout) if result.returncode == 0 else result.stderr

    return run


def test_slurm_train_asks_for_one_task_per_gpu(dry_run, root_dir):
    words = dry_run(
        'slurm_train.sh', 'gpus', 'name of it', 'config.py', 'out', '--cfg-options', 'a=[1, 2]',
        GPUS='16', SRUN_ARGS='--time=1:00:00 --exclusive',
    )  # fmt: skip
    assert words == [
        'srun', '--partition=gpus', '--job-name=name of it', '--gres=gpu:8', '--ntasks=16',
        '--ntasks-per-node=8', '--cpus-per-task=5', '--kill-on-bad-exit=1', '--time=1:00:00',
        '--exclusive', sys.executable, '-u', f'{root_dir}/tools/train.py', 'config.py',
        '--work-dir', 'out', '--cfg-options', 'a=[1, 2]', '--launcher', 'slurm',
    ]  # fmt: skip


def test_slurm_test_takes_the_checkpoint_in_fourth_place(dry_run, root_dir):
    words = dry_run('slurm_test.sh', 'gpus', 'name', 'config.py', 'x.pth', GPUS='2')
    assert '--gres=gpu:2' in words and '--ntasks-per-node=2' in words
    place = words.index(f'{root_dir}/tools/test.py')
    assert words[place + 1 :] == ['config.py', 'x.pth', '--launcher', 'slurm']


def test_inside_a_job_slurm_train_uses_the_tasks_of_the_job(dry_run):
    words = dry_run(
        'slurm_train.sh', 'gpus', 'name', 'config.py', 'out', **BATCH, SLURM_CPUS_PER_TASK='6'
    )
    assert words[1:4] == ['--ntasks=16', '--cpus-per-task=6', '--kill-on-bad-exit=1']


def test_slurm_train_started_by_srun_would_multiply_and_stops(dry_run):
    assert 'call it without srun' in dry_run('slurm_train.sh', 'gpus', 'n', 'c.py', 'o', **STEP)


def test_dist_train_on_one_machine_takes_a_free_port(dry_run, root_dir):
    words = dry_run('dist_train.sh', 'config.py', 4, '--amp')
    assert {'--nnodes=1', '--nproc_per_node=4', '--master_addr=127.0.0.1'} <= set(words)
    assert words[-5:] == [f'{root_dir}/tools/train.py', 'config.py', '--amp', *words[-2:]]
    ports = {word for word in words if word.startswith('--master_port=')}
    assert ports != {'--master_port=29500'}


def test_dist_test_takes_its_nodes_from_the_environment(dry_run):
    variables = dict(NNODES='3', NODE_RANK='2', MASTER_ADDR='first', PORT='1234')
    words = dry_run('dist_test.sh', 'config.py', 'x.pth', 4, **variables)
    expected = {'--nnodes=3', '--node_rank=2', '--master_addr=first', '--master_port=1234'}
    assert expected <= set(words)
    assert words[-4:] == ['config.py', 'x.pth', '--launcher', 'pytorch']


def test_in_a_batch_script_dist_train_starts_itself_once_on_each_node(dry_run, root_dir):
    words = dry_run('dist_train.sh', 'config.py', 8, **BATCH, SLURM_CPUS_ON_NODE='40')
    assert words[:6] == [
        'srun', '--nodes=2', '--ntasks=2', '--ntasks-per-node=1', '--cpus-per-task=40',
        '--kill-on-bad-exit=1',
    ]  # fmt: skip
    assert words[6:] == [f'{root_dir}/tools/_torchrun.sh', 'train.py', '8', 'config.py']


def test_on_a_node_of_a_job_dist_train_takes_rank_and_address_from_slurm(dry_run):
    # on a part of the job's nodes
    step = dict(STEP, SLURM_STEP_NUM_TASKS='2', SLURM_JOB_NODELIST='gpu[01-09]')
    words = dry_run('dist_train.sh', 'config.py', 8, **step)
    variables = slurm_variables(step, gpus=0)
    assert {
        '--nnodes=2',
        '--node_rank=1',
        '--master_addr=gpu08',
        f'--master_port={variables["MASTER_PORT"]}',
        '--nproc_per_node=8',
    } <= set(words)


@pytest.mark.parametrize('training', ['leaves', 'is busy'])
def test_ahead_of_the_limit_a_job_is_queued_again_once(training, root_dir, tmp_path):
    leaves = "trap 'kill $!; exit 75' TERM; " if training == 'leaves' else ''
    commands = {
        'tools/slurm_train.sh': f'{leaves}echo $$ > pid; command -p sleep 60 & wait',
        'bin/scancel': 'echo "scancel $*" >> said; kill -TERM $(cat pid) || true',
        'bin/scontrol': 'echo "scontrol $*" >> said; kill -KILL $(cat pid) || true',
        'bin/sleep': 'command -p sleep 0.5',  # in place of minutes
    }
    if training == 'is busy':  # a validation, which does not mind the signal
        commands['bin/scancel'] = 'echo "scancel $*" >> said'
    for name, command in commands.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/usr/bin/env bash\n{command}\n')
        path.chmod(0o755)
    job = subprocess.Popen(
        ['bash', root_dir / 'tools/oneformer.sbatch', 'config.py', 'out'],
        cwd=tmp_path,
        env={
            **os.environ,
            'PATH': f'{tmp_path}/bin:{os.environ["PATH"]}',
            'SLURM_JOB_ID': '7',
            'SLURM_JOB_PARTITION': 'gpus',
            'SLURM_JOB_NAME': 'name',
        },
    )
    while not ((tmp_path / 'pid').exists() and (tmp_path / 'pid').read_text()):
        assert job.poll() is None
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=30) != 0
    said = (tmp_path / 'said').read_text().splitlines()
    assert said[:2] == ['scancel --signal=TERM 7', 'scontrol requeue 7']


def test_dist_train_started_by_each_task_would_multiply_and_stops(dry_run):
    assert '16 tasks on 2 nodes' in dry_run('dist_train.sh', 'config.py', 8, **STEP)


@pytest.mark.parametrize(
    'nodes, first',
    [
        ('vm', 'vm'),
        ('a,b', 'a'),
        ('gpu[08-09,12]', 'gpu08'),
        ('gpu[7,9],x1', 'gpu7'),
        ('rack[0-1]n[3-4]-ib,y', 'rack0n3-ib'),
    ],
)
def test_processes_meet_on_the_first_node_of_a_list(nodes, first, dry_run):
    step = dict(STEP, SLURM_STEP_NUM_TASKS='2', SLURM_STEP_NODELIST=nodes)
    assert slurm_variables(step, gpus=0)['MASTER_ADDR'] == first
    assert f'--master_addr={first}' in dry_run('dist_train.sh', 'config.py', 8, **step)


def test_tasks_of_slurm_find_each_other():
    expected = dict(
        RANK='9', LOCAL_RANK='1', SLURM_LOCALID='1', WORLD_SIZE='16', MASTER_ADDR='gpu08'
    )
    variables = slurm_variables(STEP, gpus=8)
    assert variables.pop('MASTER_PORT') == str(20000 + 37 * 7 + 3)
    assert variables == expected
    chosen = slurm_variables(dict(STEP, MASTER_ADDR='10.0.0.1', MASTER_PORT='4000'), gpus=8)
    assert (chosen['MASTER_ADDR'], chosen['MASTER_PORT']) == ('10.0.0.1', '4000')


@pytest.mark.parametrize(('gpus', 'place'), [(0, '5'), (1, '0'), (8, '5')])
def test_a_task_that_sees_only_its_own_gpu_uses_it(gpus, place):
    variables = slurm_variables(dict(STEP, SLURM_LOCALID='5'), gpus)
    # torch and mmengine choose the device by these
    assert variables['LOCAL_RANK'] == variables['SLURM_LOCALID'] == place


def test_more_tasks_than_gpus_on_a_node_are_refused():
    with pytest.raises(SystemExit, match='task 5 of this node has no GPU.*GPUS_PER_NODE=4'):
        slurm_variables(dict(STEP, SLURM_LOCALID='5'), gpus=4)


def test_jobs_and_steps_that_share_a_node_do_not_meet_on_a_port():
    ports = {
        slurm_variables(dict(STEP, SLURM_JOB_ID=str(job), SLURM_STEP_ID=str(step)), gpus=0)[
            'MASTER_PORT'
        ]
        for job in range(4_000_000, 4_000_100)
        for step in range(10)
    }
    assert len(ports) == 100 * 10
    # below the ports that Linux gives to connections
    assert all(20000 <= int(port) < 30000 for port in ports)


@pytest.mark.parametrize(
    'launcher, environ, message',
    [
        ('none', BATCH, 'this Slurm job has 16 tasks, and this would run on one'),
        ('none', dict(BATCH, SLURM_STEP_ID='4294967290'), 'this Slurm job has 16 tasks'),
        ('none', STEP, 'srun started 16 tasks, but without --launcher slurm'),
        ('none', dict(WORLD_SIZE='4'), 'WORLD_SIZE is 4, but without --launcher pytorch'),
        ('slurm', BATCH, '--launcher slurm: srun did not start this process'),
        ('slurm', {}, '--launcher slurm: srun did not start this process'),
        ('pytorch', STEP, '--launcher pytorch: torchrun did not start this process'),
    ],
)
def test_a_run_that_asked_for_several_tasks_and_would_use_one_is_refused(
    launcher, environ, message
):
    with pytest.raises(SystemExit, match=message):
        check_launch(launcher, environ)


@pytest.mark.parametrize(
    'launcher, environ',
    [
        ('none', {}),
        ('none', dict(SLURM_JOB_ID='7')),  # salloc without a number of tasks
        ('none', dict(BATCH, SLURM_NTASKS='1')),
        ('none', dict(STEP, SLURM_STEP_NUM_TASKS='1')),  # srun --ntasks=1 in a larger job
        ('none', dict(WORLD_SIZE='1')),
        ('slurm', STEP),
        ('slurm', dict(STEP, SLURM_STEP_NUM_TASKS='1')),
        ('pytorch', dict(BATCH, RANK='0', WORLD_SIZE='2')),  # torchrun in a batch script
    ],
)
def test_other_starts_are_accepted(launcher, environ):
    check_launch(launcher, environ)


def test_the_tools_refuse_before_they_read_anything(run_tool, monkeypatch, tmp_path):
    monkeypatch.setenv('SLURM_NTASKS', '2')
    (tmp_path / 'broken.py').write_text('no Python')
    for tool in ('train', 'test'):
        with pytest.raises(SystemExit, match='this Slurm job has 2 tasks'):
            run_tool(tool, 'broken.py', *(['x.pth'] if tool == 'test' else []))


@pytest.fixture
def banner_of(run_tool, root_dir, tiny_set, tmp_path):
    """Facts and warnings of a dry run of training."""

    def run(*arguments, **overrides):
        printed = run_tool(
            'train', root_dir / QUICKSTART, '--work-dir', tmp_path / 'run', '--dry-run', *arguments,
            '--cfg-options',
            *(f'{name}_dataloader.dataset.data_root={tiny_set}/' for name in ('train', 'val')),
            'model.backbone.pretrained=False',
            *(f'{name.replace("__", ".")}={value}' for name, value in overrides.items()),
        )  # fmt: skip
        lines = printed[printed.index('Training starts with') :].splitlines()[1:]
        facts = dict(line.strip().split(':', 1) for line in lines if line.startswith('  '))
        warnings = [line for line in lines if 'WARNING' in line]
        return {name: value.strip() for name, value in facts.items()}, warnings

    return run


def test_a_dry_run_tells_what_training_starts_with_and_writes_nothing(banner_of, tmp_path):
    facts, warnings = banner_of(
        '--auto-scale-lr', train_dataloader__batch_size=2, optim_wrapper__accumulative_counts=3
    )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    path, reason = choose_path('cuda' if torch.cuda.is_available() else 'cpu')
    assert facts.pop('deformable attention') == f'{PATHS[path]} ({reason})'
    assert facts == {
        'processes': '1 (launcher none)',
        'devices': f'1 x {device} on 1 node',
        'training set': '16 images',
        'length': '700 iterations = 87.5 epochs',
        'training size': 'short edge 144 to 192, long edge up to 320, crop to 160 x 160, '
        'pad to 160 x 160',
        'test size': 'short edge 160, long edge up to 320',
        'queries': '30',
        'validations': '1, after iteration 700, on 5 images',
        'checkpoints': '2, after iterations 400, 700; the last 3 are kept',
        'images per step': '6 (2 per process x 1 process x 3 accumulated)',
        'learning rate': '0.0006 (scaled from 0.0008, which is for 8 images)',
        'schedule': 'WholeRunPolyLR: 6e-06 at iteration 1, 1.76e-06 at the last one, 700',
        'precision': 'float32',
        'text branch': 'contrastive loss over 2 images',
    }
    assert not any('contrastive' in warning or 'learning rate' in warning for warning in warnings)
    assert not list(tmp_path.iterdir())


def test_one_image_in_all_processes_is_warned_of_also_when_gradients_accumulate(banner_of):
    facts, warnings = banner_of(
        train_dataloader__batch_size=1, optim_wrapper__accumulative_counts=8
    )
    assert facts['images per step'].startswith('8 ')
    (warning,) = [line for line in warnings if 'contrastive' in line]
    assert 'the contrastive loss is 0 and the text branch learns nothing' in warning
    assert not any('the learning rate is for' in line for line in warnings)


def test_a_learning_rate_for_another_batch_is_warned_of(banner_of):
    facts, warnings = banner_of(train_dataloader__batch_size=2)
    assert facts['learning rate'] == '0.0008 (of the config, which is for 8 images; not scaled)'
    assert any('is for 8 images per step, and this run has 2' in line for line in warnings)


def test_the_parts_of_the_banner_are_counted():
    devices = [('a', 'NVIDIA H100')] * 8 + [('b', 'NVIDIA A100')]
    assert describe_devices(devices) == '8 x NVIDIA H100, 1 x NVIDIA A100 on 2 nodes'
    assert describe_batch(2, 8) == '16 (2 per process x 8 processes)'
    assert describe_learning_rate(1e-4, 1e-4, None) == '0.0001 (of the config, not scaled)'
    unscaled = '0.0001 (of the config, which is for 16 images; not scaled)'
    assert describe_learning_rate(1e-4, 1e-4, 16) == unscaled
