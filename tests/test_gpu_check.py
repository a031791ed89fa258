"""The check of a GPU runs to its end without one, says so, and fails where something is wrong."""

import json
import re
import subprocess
import sys

import pytest
import torch

from benchmarks.gpu import correct
from benchmarks.gpu.report import Check, Section
from oneformer.kernels import deformable_attention


def documented(root_dir):
    """Sections and keys of the tables of docs/gpu.md."""
    page = (root_dir / 'docs/gpu.md').read_text()
    sections = re.findall(r'^\| `(\w+)` \|', page.split('## Keys')[0], re.M)
    keys = [
        re.findall(r'`(\w+)`', line.split('|')[1])
        for line in page.split('## Keys')[1].splitlines()
        if line.startswith('| `')
    ]
    return sections, {key for row in keys for key in row}


def test_without_a_gpu_the_check_runs_to_its_verdict(root_dir, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    done = subprocess.run(
        [sys.executable, 'tools/gpu_check.py', '--device', 'cpu', '--tiny'],
        cwd=root_dir,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{')]
    assert lines[-1]['verdict'] == 'passed' and lines[-1]['failed'] == []
    sections, keys = documented(root_dir)
    assert list(dict.fromkeys(line['section'] for line in lines)) == sections
    found = {re.sub('_fp32$', '', key) for line in lines for key in line}
    assert found - keys == set()
    # every path and peer was there
    rows = [line for line in lines if line['section'] in ('train', 'infer') and 'ms' in line]
    assert {row['side'] for row in rows} == {'ours', 'hf', 'mask2former'}
    assert {line['path'] for line in lines if line.get('what') == 'losses'} == {'cpu', 'torch'}
    assert all(line['passed'] for line in lines if line.get('what') == 'losses')


@pytest.fixture
def checked():
    lines = []
    check = Check(torch.device('cpu'), tiny=True, write=lambda text: lines.append(json.loads(text)))
    return check, lines


def test_an_error_is_a_line_and_the_verdict_but_not_the_end(checked):
    check, lines = checked

    def broken(check):
        with check.row(what='first'):
            raise ValueError('no such kernel')
        check.say(what='second', passed=True)

    assert check.run([Section('losses', broken, 0)]) is False
    first, second, _, verdict = lines
    assert first['error'] == 'ValueError: no such kernel' and 'test_gpu_check.py' in first['at'][-1]
    assert second['passed'] is True
    assert verdict['verdict'] == 'failed' and verdict['failed'] == ['losses first']


def test_a_wrong_number_fails_the_check_and_is_readable(checked):
    check, lines = checked

    def wrong(check):
        check.say(what='x', loss_error=float('nan'), ms=1 / 3, passed=float('nan') <= 1)

    assert check.run([Section('losses', wrong, 0)]) is False
    assert lines[0]['loss_error'] == 'nan' and lines[0]['ms'] == 0.3333


def test_what_there_is_no_time_for_is_named():
    lines = []
    check = Check(torch.device('cpu'), budget=-1, write=lambda text: lines.append(json.loads(text)))
    assert check.run([Section('train', lambda check: None, 60)]) is True
    assert lines[-1]['skipped'] == ['train'] and '60 needed' in lines[0]['skipped']


def test_without_a_gpu_the_command_says_what_to_do(load_tool, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert load_tool('gpu_check').main([]) == 2
    assert '--device cpu --tiny' in capsys.readouterr().err


def test_a_kernel_with_wrong_values_is_found(checked, monkeypatch):
    check, lines = checked
    kernel = deformable_attention.multi_scale_deformable_attn_pytorch
    monkeypatch.setattr(
        deformable_attention,
        'multi_scale_deformable_attn_pytorch',
        lambda *args: 1.2 * kernel(*args),
    )
    assert check.run([Section('losses', correct.losses, 0)]) is False
    passed = {(row['path'], row['passed']) for row in lines if 'passed' in row}
    assert passed == {('torch', False), ('cpu', True)}
