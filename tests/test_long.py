"""Trainings that take minutes (`make test-long`): the quality that the README states is reached."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.long


def run(*command, cwd):
    """Run a tool in its own process and show its progress."""
    subprocess.run([sys.executable, *map(str, command)], cwd=cwd, check=True)


def test_the_quick_start_reaches_its_quality(root_dir, tmp_path):
    run(root_dir / 'tools/quickstart.py', cwd=tmp_path)
    metrics = json.loads((tmp_path / 'work_dirs/quickstart/metrics.json').read_text())
    assert metrics['panoptic/PQ'] >= 50
    assert metrics['instance/AP'] >= 25
    assert metrics['semantic/mIoU'] >= 70


def test_nuclei_are_learned_from_real_photographs(root_dir, shared_dir, tmp_path):
    config = root_dir / 'configs/oneformer_efficientnet-lite0_nuclei.py'
    root = f'{shared_dir}/data/dsb2018_panoptic/'
    options = ['--cfg-options'] + [
        f'{loader}.dataset.data_root={root}'
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
    ]
    run(root_dir / 'tools/train.py', config, '--work-dir', 'run', *options, cwd=tmp_path)
    checkpoint = (tmp_path / 'run/last_checkpoint').read_text().strip()
    run(
        root_dir / 'tools/test.py', config, checkpoint, '--out-json', 'metrics.json', *options,
        cwd=tmp_path,
    )  # fmt: skip
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['panoptic/PQ'] >= 45
    assert metrics['instance/AP'] > 0
