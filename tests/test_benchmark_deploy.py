"""The benchmark of deployed forms: what it compares, exports once, and leaves out.

Graphs that give stored logits stand for exports, which take minutes; ``make test-long`` has one.
"""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from onnx_graphs import save_replay

from oneformer.deploy.description import describe_model
from oneformer_runtime.model_json import write_description
from oneformer_runtime.scores import semantic_labels

TINY = ('--quick', '--threads', 1, '--cache', 'exports', '--json', 'results.json')


@pytest.fixture(autouse=True)
def keep_threads():
    threads = cv2.getNumThreads(), torch.get_num_threads()
    yield
    cv2.setNumThreads(threads[0])
    torch.set_num_threads(threads[1])


@pytest.fixture
def deploy(load_tool, monkeypatch):
    """The module, which measures in this process and exports by ``deploy.stand_in``."""
    pytest.importorskip('transformers', reason='the peer is installed by requirements/tests.txt')
    module = load_tool('benchmark').deploy
    monkeypatch.setattr(module.memory, 'in_own_process', lambda work, *given: work(*given))
    monkeypatch.setattr(module, 'exports', [], raising=False)
    monkeypatch.setattr(module, 'change', lambda masks: masks, raising=False)

    def export(model, pipeline, folder):
        module.exports.append(folder)
        folder.mkdir(parents=True)
        network = module.ExportedNetwork(model).eval()
        with torch.no_grad():
            scores, masks = network(module.make_image(64), torch.tensor([[0, 1, 2]]))
        save_replay(folder, scores[0].numpy(), module.change(masks[0].numpy()))
        write_description(
            replace(describe_model(model, pipeline, module.peers.ADE20K), sha256=''), folder
        )

    monkeypatch.setattr(module, 'export', export)
    return module


def test_forms_are_compared_with_torch_and_hugging_face(run_tool, deploy, tmp_path, monkeypatch):
    forms = {'onnxruntime': ('onnxruntime', 'fp32'), 'other': ('onnxruntime', 'bf16')}
    monkeypatch.setattr(deploy, 'FORMS', forms)
    monkeypatch.setattr(deploy.peers, 'NUM_TASKS', dict(three_tasks=3))
    monkeypatch.setattr(deploy, 'torch_peak', lambda *_: 2**30)  # builds the models again
    printed = run_tool('benchmark', 'deploy', *TINY)
    results = json.loads((tmp_path / 'results.json').read_text())
    for tasks in deploy.peers.NUM_TASKS:
        for pair in ('torch/hf', 'onnxruntime/torch', 'onnxruntime/hf'):
            name = f'deploy/{tasks}/{pair}'
            quotient = results[f'{name}/seconds_peer'] / results[f'{name}/seconds_ours']
            assert results[name] == pytest.approx(quotient) and quotient > 0
        assert results[f'deploy/labels/{tasks}/onnxruntime'] == 1
        assert results[f'deploy/labels/{tasks}/hf'] >= 0.995
        assert results[f'deploy/signs/{tasks}/onnxruntime'] == 1
        peaks = f'deploy/memory/{tasks}/onnxruntime/torch/bytes_ours'
        assert 20 * 2**20 < results[peaks] < 500 * 2**20  # without torch
    assert '(100 % of labels)' in printed and 'not measured, other: precision is bf16' in printed
    assert not any('other' in name for name in results)


@pytest.mark.usefixtures('deploy')
def test_other_labels_in_float32_are_not_timed(run_tool, deploy, monkeypatch):
    monkeypatch.setattr(deploy, 'change', lambda masks: -masks)
    with pytest.raises(deploy.ResultsDiffer, match='one_task of onnxruntime has .*% of the labels'):
        run_tool('benchmark', 'deploy', *TINY, '--forms', 'onnxruntime')


def test_an_export_is_kept_for_the_same_weights_alone(run_tool, deploy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = deploy.build(deploy.peers.SMALL, 64)['torch']
    args = deploy.argparse.Namespace(cache=tmp_path / 'exports')
    folder = deploy.exported(network, args)
    assert deploy.exported(network, args) == folder and len(deploy.exports) == 1
    assert {path.name for path in folder.iterdir()} == {
        'model.onnx',
        'model_int8.onnx',
        'model.json',
    }
    with torch.no_grad():
        outputs = network(deploy.make_image(64), torch.tensor([[0]]))
        labels = semantic_labels(*(x.numpy() for x in outputs))
        assert np.bincount(labels.ravel()).max() < 0.7 * labels.size  # they say something
        network.model.panoptic_head.cls_embed.bias += 1e-3
    assert deploy.exported(network, args) != folder and len(deploy.exports) == 2


@pytest.mark.long
def test_a_small_model_is_exported_and_timed_in_every_form(run_tool, tmp_path):
    pytest.importorskip('transformers', reason='the peer is installed by requirements/tests.txt')
    pytest.importorskip('openvino', reason='installed by requirements/tests.txt')
    run_tool('benchmark', 'deploy', *TINY)
    results = json.loads((tmp_path / 'results.json').read_text())
    for form in ('onnxruntime', 'onnxruntime-int8', 'openvino', 'openvino-int8'):
        assert results[f'deploy/three_tasks/{form}/torch'] > 0
        assert results[f'deploy/signs/three_tasks/{form}'] > 0.9
    assert results['deploy/labels/three_tasks/openvino'] >= 0.995
