"""The engine ``openvino``: the predictions of onnxruntime, in the precision that is asked for."""

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import oneformer_cli
import pytest
from onnx_graphs import Linear, save_graph, write_folder
from test_runtime import LOOSE, assert_equal

from oneformer.inference import OneFormerInferencer
from oneformer.tasks import TASKS
from oneformer_runtime import DescriptionError, OnnxOneFormer
from oneformer_runtime.description import ImageSettings, ModelDescription, Thresholds
from oneformer_runtime.model_json import write_description
from oneformer_runtime.precision_check import equal_labels

openvino = pytest.importorskip('openvino', reason='needs pip install "oneformer[openvino]"')

CLASSES = ('person', 'dog', 'sky', 'water')
DESCRIPTION = ModelDescription(
    CLASSES,
    CLASSES[:2],
    ImageSettings(64, 128, 32, (127.0, 127.0, 127.0)),
    Thresholds(0.1, 0.0, 100),
)
LINEAR = Linear.random(len(CLASSES), 9)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp('exported'), DESCRIPTION, LINEAR)


@pytest.fixture(scope='module')
def images():
    """BGR of three sizes."""
    rng = np.random.default_rng(1)
    coarse = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((4, 6), (6, 4), (5, 9))]
    return [np.kron(c, np.ones((15, 15, 1), np.uint8)) for c in coarse]


@pytest.fixture(scope='module')
def model(folder):
    return OnnxOneFormer(folder, engine='openvino', threads=1)


def has_bf16():
    return 'BF16' in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')


@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('tasks', [('instance',), TASKS])
def test_it_predicts_what_onnxruntime_does_for_any_size_batch_and_tasks(
    folder, model, images, tasks, batch
):
    found = model([*images, images[0]], tasks, batch=batch, **LOOSE)
    expected = OnnxOneFormer(folder)([*images, images[0]], tasks, batch=batch, **LOOSE)
    for own, theirs in zip(found, expected, strict=True):
        assert_equal(own, theirs)
        assert own.segments is None or len(own.segments) > 1


def test_it_computes_in_float32_unless_told_otherwise(folder, model):
    """Left to itself OpenVINO takes bfloat16 where the processor has it."""
    compiled = model.network.engine._request.get_compiled_model()
    assert compiled.get_property('INFERENCE_PRECISION_HINT') == openvino.Type.f32
    assert compiled.get_property('INFERENCE_NUM_THREADS') == 1
    version = openvino.get_version().split('-')[0]
    assert model.network.engine.label.startswith(f'openvino {version} on the CPU (')
    assert model.network.engine.label.endswith('), fp32') and model.equal_labels is None


def test_bfloat16_is_computed_where_the_processor_has_it_and_else_refused(folder, images):
    if not has_bf16():
        with pytest.raises(ValueError, match=r'this processor \(.+\) has no bfloat16, and OpenVI'):
            OnnxOneFormer(folder, engine='openvino', precision='bf16')
        return
    model = OnnxOneFormer(folder, engine='openvino', precision='bf16')
    compiled = model.network.engine._request.get_compiled_model()
    assert compiled.get_property('INFERENCE_PRECISION_HINT') == openvino.Type.bf16
    assert 0.9 < model.equal_labels <= 1
    (own,) = model(images[0], 'semantic')
    (theirs,) = OnnxOneFormer(folder)(images[0], 'semantic')
    assert (own.semantic_map == theirs.semantic_map).mean() > 0.9


@pytest.mark.parametrize('share, level', [(1.0, 'INFO'), (0.5, 'WARNING')])
def test_what_a_lower_precision_changes_is_logged(folder, monkeypatch, caplog, share, level):
    """On processors without bfloat16, too: float32 stands for it."""
    monkeypatch.setattr('oneformer_runtime.openvino_engine._HINTS', dict(fp32='f32', bf16='f32'))
    if share != 1:
        monkeypatch.setattr('oneformer_runtime.onnx_oneformer.equal_labels', lambda *_: share)
    with caplog.at_level(logging.INFO, 'oneformer_runtime'):
        model = OnnxOneFormer(folder, engine='openvino', precision='bf16')
    (record,) = (r for r in caplog.records if 'bf16' in r.getMessage())
    assert record.levelname == level and model.equal_labels == share
    assert f'{100 * share:g} % of the pixels have the labels of fp32' in record.getMessage()


def test_equal_labels_are_counted(model, folder, tmp_path):
    """Every label is 0 in one model, and 1 for two of three tasks in the other."""
    classes = np.full((3, 1, len(CLASSES) + 1), -9, np.float32)
    classes[:, :, 0] = 9
    one = Linear(classes, np.zeros((1, 3), np.float32), np.ones((3, 1), np.float32))
    other = replace(one, classes=classes.copy())
    other.classes[1:, :, 1] = 10
    networks = [
        OnnxOneFormer(write_folder(tmp_path / str(k), DESCRIPTION, linear)).network
        for k, linear in enumerate((one, other))
    ]
    assert equal_labels(*networks, DESCRIPTION.image) == pytest.approx(1 / 3)
    exact = OnnxOneFormer(folder).network
    assert equal_labels(model.network, exact, DESCRIPTION.image) > 0.999


def test_several_threads_may_predict_at_once(model, images):
    expected = [model(image, TASKS, **LOOSE)[0] for image in images]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda k: model(images[k % 3], TASKS, **LOOSE)[0], range(24)))
    for k, own in enumerate(found):
        np.testing.assert_array_equal(own.panoptic_map, expected[k % 3].panoptic_map)
        np.testing.assert_array_equal(own.semantic_map, expected[k % 3].semantic_map)


def test_a_graph_that_is_not_the_description_is_refused(tmp_path):
    write_folder(tmp_path, DESCRIPTION, Linear.random(len(CLASSES) + 1, 5))
    with pytest.raises(DescriptionError, match='has 6 class logits, but model.json has 4 classes'):
        OnnxOneFormer(tmp_path, engine='openvino')
    LINEAR.save(tmp_path, ('B', 64, 96))
    write_description(DESCRIPTION, tmp_path)
    with pytest.raises(DescriptionError, match=r'takes images of \(64, 96\) size, but image.size'):
        OnnxOneFormer(tmp_path, engine='openvino')
    fixed = replace(DESCRIPTION, image=replace(DESCRIPTION.image, size=(64, 96)))
    write_description(fixed, tmp_path)
    (prediction,) = OnnxOneFormer(tmp_path, engine='openvino')(np.zeros((50, 50, 3), np.uint8))
    assert prediction.size == (50, 50)


def test_a_graph_that_openvino_refuses_is_named(tmp_path):
    from onnx import helper

    nodes = [helper.make_node('Gather', ['a', 'tasks'], ['class_logits'])]
    nodes.append(helper.make_node('Gather', ['a', 'tasks'], ['mask_logits']))
    values = np.zeros((3, 2, 2), np.float32)
    save_graph(tmp_path, nodes, dict(a=values), [['B', 'T', 2, 2]] * 2)
    graph = (tmp_path / 'model.onnx').read_bytes()
    (tmp_path / 'model.onnx').write_bytes(graph.replace(b'Gather', b'Gathor'))
    write_description(DESCRIPTION, tmp_path)
    with pytest.raises(DescriptionError, match=r'(?s)cannot be loaded by openvino \d.*Gathor'):
        OnnxOneFormer(tmp_path, engine='openvino')


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(engine='tensorrt'), "engine is 'tensorrt': choose one of onnxruntime, openvino"),
        (dict(precision='fp16'), "precision is 'fp16': choose one of fp32, bf16, int8"),
        (dict(precision='bf16'), 'onnxruntime computes in the number format of the file: choose e'),
        (dict(engine='openvino', providers=['CPU']), "are onnxruntime's, and the engine openvino"),
        (dict(engine='openvino', threads=0), 'threads is 0'),
        (dict(precision='int8'), r'has no quantised model: oneformer export .* --int8 writes one'),
    ],
)
def test_options_that_do_not_fit_are_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        OnnxOneFormer(folder, **options)


def test_images_that_are_not_padded_are_refused(model):
    with pytest.raises(ValueError, match='have 64 x 100 pixels, which 32 does not divide'):
        model.network(np.zeros((1, 3, 64, 100), np.float32), TASKS)


def test_without_the_package_the_remedy_is_told(folder, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(ImportError, match='pip install openvino, or "oneformer.openvino."'):
        OnnxOneFormer(folder, engine='openvino')
    with pytest.raises(SystemExit, match='error: the engine openvino needs OpenVINO'):
        oneformer_cli.main(['predict', 'a.png', '--weights', str(folder), '--engine', 'openvino'])
    assert OnnxOneFormer(folder).network.engine.label.startswith('onnxruntime ')


def test_openvino_alone_is_enough(folder, root_dir):
    """Neither torch nor onnxruntime is imported."""
    code = (
        'import sys; sys.modules.update(torch=None, onnxruntime=None);'
        'from oneformer_runtime import OnnxOneFormer; import numpy;'
        f'model = OnnxOneFormer({str(folder)!r}, engine="openvino");'
        'print(model(numpy.zeros((64, 64, 3), "uint8"))[0].size)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': str(root_dir / 'projects')},
        capture_output=True,
        text=True,
    )
    assert done.stdout == '(64, 64)\n', done.stderr


def test_the_command_predicts_by_it(folder, images, run_command, tmp_path):
    import cv2

    image = tmp_path / 'image.png'
    cv2.imwrite(str(image), images[0])
    options = ['--weights', folder, '--tasks', 'semantic', '--out-dir']
    run_command('predict', image, *options, 'own', '--engine', 'openvino')
    run_command('predict', image, *options, 'theirs', '--precision', 'fp32')
    own, theirs = (
        cv2.imread(str(next((tmp_path / name).rglob('*semantic*/*.png'))), cv2.IMREAD_UNCHANGED)
        for name in ('own', 'theirs')
    )
    assert (own == theirs).mean() > 0.999
    with pytest.raises(ValueError, match='it has to be one of|choose one of fp32, bf16, int8'):
        OneFormerInferencer(weights=folder, precision='tf32')


@pytest.mark.parametrize('name, value', [('engine', 'openvino'), ('precision', 'int8')])
def test_what_only_exported_models_have_is_refused_for_weights_of_torch(name, value):
    with pytest.raises(ValueError, match=rf'{name} {value} \(--{name}\) is for exported models'):
        OneFormerInferencer('oneformer_efficientnet-lite0_quickstart', 'no.pth', **{name: value})
