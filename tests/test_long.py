"""What takes minutes (`make test-long`): the quality and the speed that we state are reached."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from interrupted import Trainer, kill_often, unfinished, write_config

pytestmark = pytest.mark.long


def run(*command, cwd):
    """Run a tool in its own process and show its progress."""
    subprocess.run([sys.executable, *map(str, command)], cwd=cwd, check=True)


@pytest.fixture(scope='module')
def quickstart(root_dir, tmp_path_factory):
    """The folder of a finished quick start."""
    folder = tmp_path_factory.mktemp('quickstart')
    run(root_dir / 'tools/quickstart.py', cwd=folder)
    return folder / 'work_dirs/quickstart'


def test_the_quick_start_reaches_its_quality(quickstart):
    metrics = json.loads((quickstart / 'metrics.json').read_text())
    assert metrics['panoptic/PQ'] >= 50
    assert metrics['instance/AP'] >= 25
    assert metrics['semantic/mIoU'] >= 70


def test_dinat_costs_little_more_than_swin(root_dir, tmp_path):
    run(root_dir / 'tools/benchmark.py', 'backbones', '--json', 'results.json', cwd=tmp_path)
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['backbones/dinat/time'] >= 1 / 2.5
    assert results['backbones/dinat/memory'] <= 2


def test_nuclei_are_learned_from_real_photographs(quickstart, root_dir, shared_dir, tmp_path):
    config = root_dir / 'configs/oneformer_efficientnet-lite0_nuclei.py'
    root = f'{shared_dir}/data/dsb2018_panoptic/'
    options = ['--cfg-options'] + [
        f'{loader}.dataset.data_root={root}'
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
    ]
    start = (quickstart / 'last_checkpoint').read_text().strip()
    run(
        root_dir / 'tools/train.py', config, '--work-dir', 'run', *options, f'load_from={start}',
        cwd=tmp_path,
    )  # fmt: skip
    checkpoint = (tmp_path / 'run/last_checkpoint').read_text().strip()
    run(
        root_dir / 'tools/test.py', config, checkpoint, '--out-json', 'metrics.json', *options,
        cwd=tmp_path,
    )  # fmt: skip
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['panoptic/PQ'] >= 45
    assert metrics['panoptic/PQ_th'] >= 15
    assert metrics['instance/AP'] > 0


def test_twenty_kills_change_nothing(root_dir, config_dir, tiny_set, tmp_path):
    config = write_config(tmp_path / 'small.py', config_dir, tiny_set, iters=40)
    trainer = Trainer(root_dir)
    code, log = trainer.run(config, tmp_path / 'whole')
    assert code == 0, log[-3000:]
    generator = np.random.default_rng(0)
    hits = kill_often(trainer, config, tmp_path / 'killed', generator, kills=20, duration=0.5)
    trainer.close()
    assert hits >= 3  # kills in the writing of a checkpoint
    ends = [
        torch.load(tmp_path / folder / 'iter_40.pth', weights_only=False)['state_dict']
        for folder in ('whole', 'killed')
    ]
    assert all(torch.equal(*tensors) for tensors in zip(*(end.values() for end in ends)))
    assert not unfinished(tmp_path / 'killed')
    for path in (tmp_path / 'killed').glob('*.pth'):
        torch.load(path, weights_only=False)
