"""Exported graphs: portable operators change nothing, and a graph computes what torch does."""

import json
import subprocess
import sys
from collections import Counter
from importlib import util

import numpy as np
import onnx
import pytest
import torch
from dinat_peer import window
from exportable_models import BACKBONES, ENCODER_ONLY, small_model
from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
from mmdet.registry import MODELS
from mmengine.config import Config
from onnx import numpy_helper
from onnx_graphs import Linear
from torch.nn import functional as F
from toy_model import decisive, toy_config

from oneformer.backbones.neighborhood_attention import axis_neighbours
from oneformer.backbones.vit_weights import bicubic_weights
from oneformer.deploy import exporting
from oneformer.deploy.checking import (
    TOLERANCES,
    ExportError,
    compare,
    textured_image,
    trial_inputs,
)
from oneformer.deploy.exporting import export_model
from oneformer.deploy.network import ExportedNetwork
from oneformer.deploy.replacements import replace_layers
from oneformer.inference import OneFormerInferencer
from oneformer.inference.settings import read_settings
from oneformer.kernels.attention_levels import Levels
from oneformer.kernels.gathered_attention import gather_and_sum
from oneformer.kernels.portable import portable
from oneformer.tasks import TASKS
from oneformer_runtime import OnnxOneFormer

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart'
NAMES = [*BACKBONES, *ENCODER_ONLY]


def images_of(count, height, width):
    return torch.stack([textured_image(height, width, seed) for seed in range(count)])


@pytest.fixture(scope='module')
def pipeline():
    return read_settings(QUICKSTART).pipeline


@pytest.fixture
def model(config_dir, tiny_set):
    """A small model whose queries are sure."""
    return decisive(toy_config(config_dir, tiny_set).model, textured_image(96, 128, 0))


@pytest.fixture
def quick(monkeypatch):
    """An exporter that writes a given graph in place of tracing."""

    def use(write):
        monkeypatch.setattr(exporting, 'write_graph', write)

    return use


@pytest.mark.parametrize('name', NAMES)
def test_portable_operators_change_nothing(config_dir, tiny_set, name):
    network = ExportedNetwork(small_model(config_dir, tiny_set, name)).eval()
    tasks = torch.tensor([[0, 1, 2], [2, 2, 1]])
    inputs = [(images_of(2, height, width), tasks) for height, width in ((96, 128), (256, 64))]
    with torch.no_grad():
        expected = [network(*batch) for batch in inputs]
        replace_layers(network)
        with portable():
            found = [network(*batch) for batch in inputs]
    for outputs, others in zip(found, expected):
        for ours, plain, tolerance in zip(outputs, others, TOLERANCES):
            torch.testing.assert_close(ours, plain, rtol=0, atol=tolerance)
    assert name == 'EoMT' or (expected[0][1][0, 0] - expected[0][1][0, 1]).abs().max() > 0


def test_numbers_of_tasks_are_their_words(model):
    network = ExportedNetwork(model).eval()
    images = images_of(2, 64, 96)
    normalised = (images - 127) / 128
    with torch.no_grad():
        scores, masks = network(images, torch.tensor([[2, 0], [2, 0]]))
        outputs = model.run_network(normalised, ['semantic', 'panoptic'])
    for t, task in enumerate(('semantic', 'panoptic')):
        for b in range(2):
            one = outputs.of_image(b, task)
            torch.testing.assert_close(scores[b, t], one.cls_scores)
            torch.testing.assert_close(masks[b, t], one.mask_logits())
    with pytest.raises(IndexError), torch.no_grad():
        network(images, torch.tensor([[-1], [0]]))


def test_gathered_points_are_mmcvs_also_at_and_behind_the_edge():
    torch.manual_seed(0)
    shapes = [(4, 4), (2, 7), (1, 1)]
    with portable():
        levels = Levels.of(shapes, torch.device('cpu'))
    N = sum(h * w for h, w in shapes)
    value = torch.randn(2, N, 3, 5)
    corners = torch.tensor([[-0.5, -0.5], [0.0, 0.0], [3.5, 3.5], [0.5, -7.0], [40.0, 1.0]])
    offsets = 4 * torch.randn(2, N, 3, 3, 5, 2)
    offsets[:, ::2] = corners - levels.centres[::2, None, None, None] * 4
    weights = torch.rand(2, N, 3, 15)
    sizes = torch.tensor([[w, h] for h, w in shapes])[:, None]
    locations = levels.centres[:, None, None, None] + offsets / sizes
    expected = multi_scale_deformable_attn_pytorch(
        value, torch.tensor(shapes), locations, weights.unflatten(-1, (3, 5))
    )
    found = gather_and_sum(value, levels, offsets, weights).flatten(2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize('antialias', [False, True])
def test_bicubic_weights_are_torchs(antialias):
    generator = torch.Generator().manual_seed(0)
    for old, new in ((37, 40), (37, 37), (37, 20), (14, 3), (5, 64), (37, 1), (6, 7)):
        line = torch.randn(1, 3, old, 2, generator=generator)
        expected = F.interpolate(line, (new, 2), mode='bicubic', antialias=antialias)
        found = bicubic_weights(old, new, antialias, line.device) @ line
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_neighbours_of_an_axis_are_those_of_the_definition():
    for kernel, dilation in ((3, 1), (3, 5), (7, 2), (5, 3)):
        for length in (kernel * dilation, kernel * dilation + 1, 37, 64):
            keys, places = axis_neighbours(length, kernel, dilation, torch.device('cpu'))
            for i in range(length):
                expected = window(i, length, kernel, dilation)
                assert list(zip(keys[i].tolist(), places[i].tolist())) == expected


@pytest.mark.parametrize('size', [None, (64, 96)])
def test_a_check_has_sizes_batches_and_tasks_of_its_own(size):
    shapes = [
        (len(images), len(tasks[0]), *images.shape[2:])
        for _, images, tasks in trial_inputs(32, size)
    ]
    if size is None:
        assert {shape[0] for shape in shapes} == {1, 2, 3}
        assert len({shape[2:] for shape in shapes}) == 3
    else:
        assert {shape[2:] for shape in shapes} == {size}
    assert {shape[1] for shape in shapes} == {1, 2, 3}
    assert all(side % 32 == 0 for shape in shapes for side in shape[2:])


def test_what_does_not_agree_is_not_kept(model, pipeline, quick, tmp_path):
    """A graph of the right signature, and of another network."""
    other = Linear.random(len(model.metainfo['classes']), model.panoptic_head.num_queries)
    quick(lambda network, path, *args: other.save(path.parent))
    with pytest.raises(ExportError, match='differs from the model by more than rounding'):
        export_model(model, pipeline, model.metainfo, tmp_path / 'exported')
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing_and_what_was_there(model, pipeline, quick, tmp_path):
    def fail(network, path, *args):
        path.write_bytes(b'half')
        raise RuntimeError('Constraints violated (batch)\nand more')

    quick(fail)
    folder = tmp_path / 'exported'
    with pytest.raises(ExportError, match=r'Constraints violated \(batch\)\): try --size'):
        export_model(model, pipeline, model.metainfo, folder)
    assert not list(tmp_path.iterdir())
    folder.mkdir()
    (folder / 'notes.txt').write_text('mine')
    with pytest.raises(ValueError, match='has files that are not an exported model'):
        export_model(model, pipeline, model.metainfo, folder, overwrite=True)
    assert [path.name for path in folder.iterdir()] == ['notes.txt']


def test_options_that_cannot_be_are_named(model, pipeline, quick, tmp_path, monkeypatch):
    quick(None)
    folder = tmp_path / 'exported'

    def refused(match, pipeline=pipeline, error=ValueError, **options):
        with pytest.raises(error, match=match):
            export_model(model, pipeline, model.metainfo, folder, **options)
        assert not folder.exists()

    refused('multiples of 32, which 100 is not: say 128', size=(64, 100))
    refused('opset 9 cannot be written: choose one of 18', opset=9)
    refused('missing.png', images=[tmp_path / 'missing.png'], error=FileNotFoundError)
    refused('has RandomFlip', pipeline=[*pipeline, dict(type='RandomFlip')])
    monkeypatch.setitem(model.test_cfg, 'window', dict(size=512, overlap=64))
    refused('model.test_cfg.window')
    find = util.find_spec
    monkeypatch.setattr(exporting, 'find_spec', lambda n: None if n == 'onnxscript' else find(n))
    refused(r'needs onnxscript: pip install "oneformer\[export\]"', error=ModuleNotFoundError)


# what follows traces networks, which takes up to a minute each: make test-export


@pytest.fixture(scope='module')
def traced(config_dir, tiny_set, tmp_path_factory, pipeline):
    """A function that exports a small model of a name, once."""
    done = {}

    def get(name):
        if name not in done:
            model = small_model(config_dir, tiny_set, name)
            folder = tmp_path_factory.mktemp('exports') / 'exported'
            trials = export_model(model, pipeline, model.metainfo, folder, name=name)
            done[name] = model, folder, trials
        return done[name]

    return get


def graph_of(folder):
    return onnx.load(folder / 'model.onnx')


@pytest.mark.export
@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in NAMES]
)
def test_a_graph_computes_what_torch_does_at_other_sizes(traced, name):
    model, folder, trials = traced(name)
    for trial in trials:
        assert trial.allowed == TOLERANCES and trial.agrees, trial
    network = ExportedNetwork(model).eval()
    # square, high and wide: none is among those of the exporter
    shapes = ((1, 160, 160, 3), (2, 352, 64, 1), (3, 64, 224, 2))
    batches = [
        (str(shape), images_of(shape[0], *shape[1:3]), [list(range(shape[3]))] * shape[0])
        for shape in shapes
    ]
    for trial in compare(network, folder / 'model.onnx', batches):
        assert trial.class_logits <= 1e-4 and trial.mask_logits <= 1e-3, trial
        assert trial.labels >= 0.999
    graph = graph_of(folder)
    operators = Counter(node.op_type for node in graph.graph.node)
    assert not {'GridSample', 'Loop', 'If', 'ScatterND', 'ScatterElements'} & set(operators)
    assert {node.domain for node in graph.graph.node} == {''}
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [('', 18)]
    sizes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    ]
    Q, K = model.panoptic_head.num_queries, model.num_classes
    assert sizes == [
        ['batch', 3, 'height', 'width'],
        ['batch', 'tasks'],
        ['batch', 'tasks', Q, K + 1],
        ['batch', 'tasks', Q, 'height / 4', 'width / 4'],
    ]


@pytest.mark.export
@pytest.mark.xdist_group('encoder-only DINOv3')
def test_tasks_condition_a_graph_and_others_are_refused(traced):
    import onnxruntime

    _, folder, _ = traced('encoder-only DINOv3')
    session = onnxruntime.InferenceSession(folder / 'model.onnx')
    image = textured_image(64, 96, 0)[None].numpy()

    def run(number):
        return session.run(None, dict(image=image, tasks=np.array([[number]])))

    outputs = [run(number) for number in range(len(TASKS))]
    for i in range(len(TASKS)):
        assert np.abs(outputs[i][0] - outputs[i - 1][0]).max() > 1e-3
    for number in (-1, -3, len(TASKS)):
        with pytest.raises(Exception, match='index'):
            run(number)


@pytest.mark.export
@pytest.mark.xdist_group('encoder-only DINOv3')
def test_a_wrong_weight_in_the_file_is_found(traced, pipeline, quick, tmp_path):
    model, folder, _ = traced('encoder-only DINOv3')

    def write_wrong(network, path, *args):
        graph = graph_of(folder)
        tensor = max(graph.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
        values = numpy_helper.to_array(tensor).copy()
        values.flat[0] += 0.5
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        onnx.save(graph, path)

    quick(write_wrong)
    with pytest.raises(ExportError, match='differs from the model'):
        export_model(model, pipeline, model.metainfo, tmp_path / 'exported')
    assert not list(tmp_path.iterdir())


@pytest.mark.export
def test_one_size_and_a_later_opset(config_dir, tiny_set, pipeline, tmp_path):
    model = small_model(config_dir, tiny_set, 'encoder-only DINOv3')
    folder = tmp_path / 'exported'
    export_model(model, pipeline, model.metainfo, folder, size=(64, 128), opset=20)
    graph = graph_of(folder)
    assert [entry.version for entry in graph.opset_import] == [20]
    shape = graph.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in shape[2:]] == [64, 128]
    exported = OnnxOneFormer(folder)
    assert exported.description.image.size == (64, 128)
    (prediction,) = exported(np.zeros((100, 50, 3), np.uint8), tasks='semantic')
    assert prediction.semantic_map.shape == (100, 50)


# thresholds at which weights that are not trained have segments
LOOSE = dict(object_mask_thr=0.1, iou_thr=0.3, score_thr=0.05)
ALONE = """
import json
import sys
for name in ('torch', 'mmcv', 'mmengine', 'mmdet', 'mmseg', 'oneformer'):
    sys.modules[name] = None  # importing one fails
import numpy as np
from oneformer_runtime import OnnxOneFormer
folder, out, options, *images = sys.argv[1:]
tasks = ['panoptic', 'instance', 'semantic']
options = json.loads(options)
for k, found in enumerate(OnnxOneFormer(folder)(images, tasks=tasks, **options)):
    labels = [0, *(segment['label'] + 1 for segment in found.segments)]
    fields = {name: getattr(found, name) for name in ('semantic_map', 'labels', 'scores', 'masks')}
    np.savez(f'{out}/{k}.npz', panoptic=np.array(labels)[found.panoptic_map], **fields)
"""


def coco_images(root):
    """The four COCO photographs."""
    images = sorted((root / 'data/coco_panoptic_tiny/images').glob('*.jpg'))
    assert len(images) == 4
    return images


@pytest.fixture(scope='module')
def checkpoint(config_dir, tiny_set, tmp_path_factory):
    """Config, weights and the exported folder of a model whose queries are sure."""
    folder = tmp_path_factory.mktemp('checkpoint')
    cfg = toy_config(config_dir, tiny_set)
    model = decisive(cfg.model, textured_image(96, 128, 0))
    with torch.no_grad():
        for parameter in model.panoptic_head.mask_embed[-1].parameters():
            parameter.mul_(20)  # masks with an inside and an outside
    config, weights = folder / 'toy.py', folder / 'toy.pth'
    cfg.dump(config)
    torch.save(dict(state_dict=model.state_dict(), meta={}), weights)
    return config, weights, folder / 'exported'


@pytest.mark.export
def test_a_checkpoint_becomes_a_folder_that_predicts_the_same_without_torch(
    checkpoint, shared_dir, root_dir, run_command, tmp_path
):
    """The command; then photographs by the checkpoint, and by the folder where torch is missing."""
    config, weights, folder = checkpoint
    images = coco_images(shared_dir)
    run_command('export', weights, '--model', config, '--out-dir', folder, '--check', images[0])
    trials = json.loads((folder / 'model.json').read_text())['agreement']['trials']
    assert [trial['name'] for trial in trials][-1] == images[0].name
    with pytest.raises(SystemExit, match='or --overwrite'):
        run_command('export', weights, '--model', config, '--out-dir', folder)
    done = subprocess.run(
        [sys.executable, '-c', ALONE, folder, tmp_path, json.dumps(LOOSE), *images],
        env={'PYTHONPATH': str(root_dir / 'projects')},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = OneFormerInferencer(config, weights, 'cpu')(images, tasks=TASKS, **LOOSE)
    assert len({label for own in expected for label in np.unique(own.semantic_map)}) > 1
    assert any(len(own.segments) > 1 for own in expected)
    for k, own in enumerate(expected):
        found = np.load(tmp_path / f'{k}.npz')
        labels = [0, *(segment['label'] + 1 for segment in own.segments)]
        # ties: of two labels whose scores differ by rounding alone either is right, and of weights
        # that are not trained many do
        assert (found['semantic_map'] == own.semantic_map).mean() > 0.999
        assert (found['panoptic'] == np.array(labels)[own.panoptic_map]).mean() > 0.999
        np.testing.assert_array_equal(found['labels'], own.labels)
        np.testing.assert_allclose(found['scores'], own.scores, atol=1e-4)
        assert (found['masks'] == own.masks).mean() > 0.999


@pytest.mark.long
@pytest.mark.parametrize('name', ['oneformer_swin-t_ade20k', 'oneformer_r50_ade20k'])
def test_a_model_of_full_width_exports(name, config_dir, tmp_path):
    cfg = Config.fromfile(config_dir / f'{name}.py')
    for training in ('text_mapper', 'contrastive_loss', 'criterion'):
        cfg.model[training] = None
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for part in (model.panoptic_head, *model.backbone.children()):
        getattr(part, 'init_weights', lambda: None)()
    model.eval()
    pipeline = read_settings(cfg).pipeline
    for trial in export_model(model, pipeline, model.metainfo, tmp_path / 'exported'):
        print(f'{name}: {trial}')
        assert trial.labels > 0.999
