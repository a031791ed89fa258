"""The benchmark of deformable attention, and the peer whose operator is missing on a GPU."""

import json

import pytest
import torch
from mmcv.ops import multi_scale_deform_attn

import oneformer  # noqa: F401  before the benchmarks

TINY = ('--sizes', 64, 96, '--repeats', 1, '--threads', 1, '--device', 'cpu')


@pytest.fixture
def tool(load_tool, monkeypatch):
    tool = load_tool('benchmark')
    threads = torch.get_num_threads()
    monkeypatch.setattr(tool.attention.memory, 'in_own_process', lambda work, *given: work(*given))
    yield tool
    torch.set_num_threads(threads)


def test_paths_take_turns_with_the_default(run_tool, tool, tmp_path):
    printed = run_tool('benchmark', 'attention', *TINY, '--json', 'results.json')
    results = json.loads((tmp_path / 'results.json').read_text())
    for what, unit in dict(forward='seconds', step='seconds', memory='bytes').items():
        for size in (64, 96):
            name = f'attention/{what}/{size}/torch'
            assert name in printed
            sides = [results[f'{name}/{unit}_{side}'] for side in ('peer', 'ours')]
            above, below = sides if unit == 'seconds' else sides[::-1]
            assert results[name] == pytest.approx(above / below) and above > 0
    assert 'ours is bags of rows: ' in printed
    for name in ('cuda', 'triton', 'deformops'):
        assert f'not measured, {name}: it is for CUDA' in printed
    assert len(results) == 1 + 3 * 6  # the machine, and three numbers of each row


@pytest.mark.parametrize('place, told', [(0, 'sums'), (1, 'gradients'), (2, 'gradients')])
def test_paths_that_differ_are_not_timed(run_tool, tool, monkeypatch, place, told):
    step = tool.attention.step

    def wrong(attend, inputs):
        found = step(attend, inputs)
        if attend.keywords['path'] == 'cpu':
            found[place] = found[place] * 1.01
        return found

    monkeypatch.setattr(tool.attention, 'step', wrong)
    with pytest.raises(tool.timing.ResultsDiffer, match=f'{told} of cpu differ .* by 1.00%'):
        run_tool('benchmark', 'attention', *TINY)


def test_the_peer_does_not_call_an_operator_that_is_missing(load_tool, monkeypatch):
    tool = load_tool('benchmark')
    peers = tool.infer.peers
    monkeypatch.setattr(multi_scale_deform_attn, 'IS_CUDA_AVAILABLE', True)
    assert peers.attention_note(torch.device('cpu')) == ''
    peers.build_mask2former(peers.SMALL, torch.device('cpu'))
    assert multi_scale_deform_attn.IS_CUDA_AVAILABLE
    monkeypatch.setattr(peers.mask2former, 'find_obstacle', lambda path, device: 'it is missing')
    monkeypatch.setattr(torch.nn.Module, 'to', lambda self, *given, **named: self)
    peers.build_mask2former(peers.SMALL, torch.device('cuda'))
    assert not multi_scale_deform_attn.IS_CUDA_AVAILABLE
    note = peers.attention_note(torch.device('cuda'))
    row = tool.timing.Row('infer/one_task/mask2former', [1.0], [2.0], note=note)
    assert f'mask2former ({note}) |' in tool.timing.format_results([row])
    assert list(tool.timing.flat_results([row]))[0] == 'infer/one_task/mask2former'
