"""A quantised graph is kept only with its scores, and not if it loses a class or too much.

The model knows the colours of eight classes; eight labelled images show them, one class once.
"""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import oneformer_cli
import onnx
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from onnx_graphs import Linear

from oneformer.commands import export
from oneformer.deploy import int8
from oneformer.zoo import find_config
from oneformer_runtime import OnnxOneFormer
from oneformer_runtime.description import ImageSettings, ModelDescription, Thresholds
from oneformer_runtime.model_json import read_description, write_description

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart'
META = Config.fromfile(find_config(QUICKSTART)).metainfo
CLASSES, THINGS = tuple(META.classes), tuple(META.thing_classes)
CORNERS = np.array([[(k >> bit & 1) * 255 for bit in range(3)] for k in range(8)])  # RGB of a class
RARE = 3  # a thing that only one image shows
DESCRIPTION = ModelDescription(
    CLASSES,
    THINGS,
    ImageSettings(64, 128, 32, (127.0, 127.0, 127.0)),
    Thresholds(0.5, 0.5, 100),
)


def label_map(number):
    """Labels of an image of 4 x 4 blocks: stuff in rows, and at most one of each thing."""
    blocks = np.repeat([4, 5, 6, 7], 4).reshape(4, 4)
    rng = np.random.default_rng(number)
    places = rng.permutation(16)[:4]
    for label, place in enumerate(places):
        if label != RARE or number == 5:
            blocks[divmod(place, 4)] = label
    return np.kron(blocks, np.ones((16, 16), int))


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """A config whose test set is the eight images."""
    folder = tmp_path_factory.mktemp('labelled')
    for name in ('val', 'panoptic_val'):
        (folder / name).mkdir()
    content = dict(images=[], annotations=[], categories=[])
    for label, name in enumerate(CLASSES):
        content['categories'].append(dict(id=label + 1, name=name, isthing=int(name in THINGS)))
    for number in range(8):
        labels = label_map(number)
        cv2.imwrite(str(folder / f'val/{number}.png'), CORNERS[labels][..., ::-1])
        ids = np.zeros((64, 64, 3), np.uint8)
        ids[..., 2] = labels + 1
        cv2.imwrite(str(folder / f'panoptic_val/{number}.png'), ids)
        segments = [
            dict(id=k + 1, category_id=k + 1, iscrowd=0, area=int((labels == k).sum()))
            for k in np.unique(labels).tolist()
        ]
        for segment in segments:
            box = cv2.boundingRect((labels == segment['id'] - 1).astype(np.uint8))
            segment['bbox'] = list(box)
        file = dict(id=number, file_name=f'{number}.png', height=64, width=64)
        content['images'].append(file)
        content['annotations'].append(
            dict(image_id=number, file_name=f'{number}.png', segments_info=segments)
        )
    (folder / 'panoptic_val.json').write_text(json.dumps(content))
    path = folder / 'coloured.py'
    path.write_text(
        f'_base_ = {str(find_config(QUICKSTART))!r}\n'
        f'test_dataloader = dict(dataset=dict(data_root={str(folder)!r}))\n'
    )
    return path


def linear(weakest=1.0):
    """A query for each class; the rare one's weights are ``weakest`` times those of the others."""
    strength = np.full(8, 4.0)
    strength[RARE] *= weakest
    classes = np.full((3, 8, 9), -5.0)
    classes[:, range(8), range(8)] = 8
    colours = strength[:, None] * np.sign(CORNERS - 127)
    constants = np.tile(-2 * strength, (3, 1))
    return Linear(*(x.astype(np.float32) for x in (classes, colours, constants)))


def save(folder, network):
    folder.mkdir(exist_ok=True)
    network.save(folder, by_product=True)
    write_description(DESCRIPTION, folder)
    return folder


@pytest.fixture(scope='module')
def quantised(tmp_path_factory, config):
    """The folder of an exported model after ``--int8``."""
    folder = save(tmp_path_factory.mktemp('quantised') / 'exported', linear())
    oneformer_cli.main(['export', str(folder), '--int8', '--evaluate', str(config)])
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def mean_iou(model, number_of_images=8):
    """mIoU in percent of the semantic maps, counted here."""
    counts = np.zeros((8, 8), int)
    for number in range(number_of_images):
        labels = label_map(number)
        image = CORNERS[labels][..., ::-1].astype(np.uint8)
        (prediction,) = model(image, 'semantic')
        np.add.at(counts, (labels, prediction.semantic_map), 1)
    hits = counts.diagonal()
    return 100 * (hits / (counts.sum(0) + counts.sum(1) - hits)).mean()


def test_int8_is_written_with_the_scores_of_both(quantised):
    folder = quantised
    assert set(contents(folder)) == {'model.onnx', 'model.json', 'model_int8.onnx'}
    assert [path.name for path in folder.parent.iterdir()] == ['exported']
    scores = read_description(folder).variants['int8'].scores
    assert scores['config'] == 'coloured.py' and scores['images'] == 8
    assert set(scores['totals']) == {'panoptic/PQ', 'instance/AP', 'semantic/mIoU'}
    assert min(v for pair in scores['totals'].values() for v in pair.values()) > 70
    models = {name: OnnxOneFormer(folder, precision=name) for name in ('fp32', 'int8')}
    for precision, model in models.items():
        assert scores['totals']['semantic/mIoU'][precision] == pytest.approx(
            mean_iou(model), abs=0.006
        )
    for task, names in dict(panoptic=CLASSES, instance=THINGS, semantic=CLASSES).items():
        assert set(scores['per_class'][task]) == set(names)
        assert all(pair['int8'] > 60 for pair in scores['per_class'][task].values())
    assert 'int8' in models['int8'].network.engine.label


def test_the_quantised_graph_is_standard_and_rounds_the_weights(tmp_path, config, run_command):
    folder = save(tmp_path / 'exported', linear(0.3))
    words = 'export', folder, '--int8', '--evaluate', config
    assert run_command(*words, '--int8-images', 4).endswith(f'\n{folder}\n')
    graph = onnx.load(folder / 'model_int8.onnx')
    assert {node.domain for node in graph.graph.node} <= {'', 'ai.onnx'}
    assert not graph.graph.value_info  # shapes that onnx infers are wrong behind some operators
    assert 'MatMulInteger' in {node.op_type for node in graph.graph.node}
    tensors = map(onnx.numpy_helper.to_array, graph.graph.initializer)
    (values,) = (x.astype(int) for x in tensors if x.dtype == np.int8 and x.ndim == 2)
    # seven bits: products of two neighbours do not overflow on any processor
    assert np.abs(values).max() <= 64 and len(np.unique(np.abs(values))) == 2
    scores = read_description(folder).variants['int8'].scores
    assert scores['images'] == 4
    # again: the old one is replaced
    run_command(*words)
    assert read_description(folder).variants['int8'].scores['images'] == 8


def test_a_class_that_is_lost_refuses_it(tmp_path, config):
    """The rare class has weights that are 0 in steps of the others'.

    Its masks are then nowhere above 0.5, though higher than others where it is.
    """
    folder = save(tmp_path / 'exported', linear(0.001))
    before = contents(folder)
    assert mean_iou(OnnxOneFormer(folder)) > 80
    words = ['export', str(folder), '--int8', '--evaluate', str(config), '--int8-max-drop', '100']
    with pytest.raises(SystemExit) as error:
        oneformer_cli.main(words)
    for task in ('panoptic', 'instance'):
        assert f"the class 'life ring' is lost ({task}: " in str(error.value)
    assert str(error.value).endswith(f'{folder} is as it was')
    assert contents(folder) == before and len(list(tmp_path.iterdir())) == 1


def test_a_fall_by_more_than_the_limit_refuses_it(tmp_path, config, monkeypatch, run_command):
    """The rare class is seen in half of what shows it."""
    folder = save(tmp_path / 'exported', linear())

    def spoil(graph, target):
        spoiled = linear()
        spoiled.constants[:, 4] -= 4.2  # of the sky, which loses most of its edges
        (tmp_path / 'spoiled').mkdir(exist_ok=True)
        spoiled.save(tmp_path / 'spoiled', by_product=True)
        (tmp_path / 'spoiled/model.onnx').replace(target)

    monkeypatch.setattr(int8, 'quantise', spoil)
    words = ['export', str(folder), '--int8', '--evaluate', str(config)]
    with pytest.raises(SystemExit, match=r'int8 was not kept: panoptic/PQ falls from \d+.\d+ to '):
        oneformer_cli.main(words)
    assert set(contents(folder)) == {'model.onnx', 'model.json'}


def test_a_graph_that_runs_for_one_image_alone_is_refused(tmp_path, config, monkeypatch):
    """The labelled images are predicted one by one."""
    folder = save(tmp_path / 'exported', linear())
    (tmp_path / 'one').mkdir()
    linear().save(tmp_path / 'one', sizes=(1, 'H', 'W'), by_product=True)
    monkeypatch.setattr(
        int8, 'quantise', lambda _, target: (tmp_path / 'one/model.onnx').replace(target)
    )
    words = ['export', str(folder), '--int8', '--evaluate', str(config)]
    with pytest.raises(SystemExit, match=r'(?s)int8 was not kept: .*the shape \(2, 3, '):
        oneformer_cli.main(words)
    assert set(contents(folder)) == {'model.onnx', 'model.json'}


def test_numbers_that_are_undefined_refuse_it():
    totals = {'panoptic/PQ': dict(fp32=None, int8=None), 'semantic/mIoU': dict(fp32=9, int8=None)}
    first, second = int8.faults_of(totals, {}, 1.0)
    assert 'panoptic/PQ is undefined: the labelled set has no ground truth' in first
    assert 'semantic/mIoU falls from 9 to None' in second
    totals = {'instance/AP': dict(fp32=9.0, int8=8.1)}
    assert not int8.faults_of(totals, dict(instance=dict(a=dict(fp32=4.9, int8=0.0))), 1.0)
    assert int8.faults_of(totals, dict(instance=dict(a=dict(fp32=5.0, int8=0.4))), 1.0)
    assert int8.faults_of(totals, dict(instance=dict(a=dict(fp32=5.0, int8=None))), 1.0)
    assert int8.faults_of(totals, {}, 0.8)


@pytest.mark.parametrize('engine', ['onnxruntime', 'openvino'])
def test_both_engines_run_it(quantised, engine):
    pytest.importorskip(engine, reason='installed by requirements/tests.txt')
    exact = OnnxOneFormer(quantised)
    model = OnnxOneFormer(quantised, engine=engine, precision='int8')
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 96)).astype(np.float32)
    (_, wanted), (_, found) = (m.network(image, ['panoptic', 'semantic']) for m in (exact, model))
    difference = np.abs(found - wanted).max()
    assert 1e-3 < difference < 0.2, difference


def test_the_command_predicts_by_it(quantised, config, run_command):
    image = config.parent / 'val/5.png'
    options = ['--weights', quantised, '--precision', 'int8', '--out-dir', 'out']
    assert ', int8\n' in run_command('predict', image, *options)
    (path,) = Path('out').rglob('*semantic*/*.png')
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert (labels == label_map(5)).mean() > 0.9


@pytest.fixture
def refused(tmp_path, config, capsys):
    """What an export of a folder says that is refused."""
    folder = save(tmp_path / 'exported', linear())
    before = contents(folder)

    def message(*words):
        with pytest.raises(SystemExit) as error:
            oneformer_cli.main(['export', str(folder), *map(str, words)])
        assert contents(folder) == before
        code = error.value.code
        return code if isinstance(code, str) else capsys.readouterr().err

    return message


def write_config(tmp_path, config, *lines):
    path = tmp_path / 'other.py'
    path.write_text('\n'.join([f'_base_ = {str(config)!r}', *lines]))
    return path


def test_options_that_do_not_fit_are_refused(refused, config):
    assert '--int8 adds a quantised one to it' in refused()
    assert 'leave out --out-dir' in refused('--int8', '--out-dir', 'x', '--evaluate', config)
    assert 'give a config whose test set has labels, as --evaluate' in refused('--int8')
    for option, value in (('--int8-images', 0), ('--int8-max-drop', -1)):
        words = '--int8', '--evaluate', config, option, value
        assert f'{option} has to be' in refused(*words)


def test_configs_that_do_not_fit_are_refused(refused, config, tmp_path):
    classes = [*CLASSES[1:], CLASSES[0]]
    other = write_config(
        tmp_path, config, f'test_dataloader = dict(dataset=dict(metainfo=dict(classes={classes})))'
    )
    said = refused('--int8', '--evaluate', other)
    assert 'error: classes of the test set of other.py are 8 (crate, ' in said
    one = "test_evaluator = [dict(type='SemanticIoU')]"
    other = write_config(tmp_path, config, one)
    said = refused('--int8', '--evaluate', other)
    assert "other.py has no metric of the task 'panoptic' in test_evaluator" in said
    other = write_config(tmp_path, config, 'test_evaluator = None')
    assert 'has no test_evaluator' in refused('--int8', '--evaluate', other)
    steps = "[dict(type='LoadPhoto'), dict(type='mmdet.Resize'), dict(type='PackSegmentInputs')]"
    other = write_config(
        tmp_path, config, f'test_dataloader = dict(dataset=dict(pipeline={steps}))'
    )
    said = refused('--int8', '--evaluate', other)
    assert 'the test pipeline of other.py has Resize, which changes images before' in said
    words = '--int8', '--evaluate', config, '--cfg-options', 'test_dataloader.dataset.data_root=no'
    assert 'error: ' in refused(*words) and 'no/panoptic_val.json' in refused(*words)


def test_the_labelled_set_is_looked_at_before_the_export(
    tmp_path, config, monkeypatch, run_command
):
    cfg = Config.fromfile(find_config(QUICKSTART))
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), tmp_path / 'r.pth')
    exported = []

    def write(model, pipeline, meta, folder, **options):
        exported.append(folder)
        save(Path(folder), linear())

    monkeypatch.setattr(export, 'export_model', write)
    words = ['export', str(tmp_path / 'r.pth'), '--out-dir', str(tmp_path / 'out'), '--int8']
    words += ['--model', QUICKSTART]
    with pytest.raises(SystemExit, match='error: .*panoptic_val.json'):  # no data are here
        monkeypatch.chdir(tmp_path)
        oneformer_cli.main(words)
    assert not exported
    run_command(*words, '--evaluate', config)
    assert exported and 'int8' in read_description(tmp_path / 'out').variants


def test_variants_are_checked_on_reading(tmp_path):
    folder = save(tmp_path / 'exported', linear())
    content = json.loads((folder / 'model.json').read_text())
    for variants, message in (
        (dict(int4={}), 'variants is .*, not an object of int8'),
        (dict(int8=dict(file='../x.onnx', sha256='')), 'variants.int8.file is .*, not the name'),
        (dict(int8=dict(file='x.onnx')), 'variants.int8.sha256 is missing'),
    ):
        (folder / 'model.json').write_text(json.dumps(dict(content, variants=variants)))
        with pytest.raises(ValueError, match=message):
            OnnxOneFormer(folder)
    del content['variants']  # of files that were written before
    (folder / 'model.json').write_text(json.dumps(content))
    assert OnnxOneFormer(folder).description.variants == {}
    variants = dict(int8=dict(file='model_int8.onnx', sha256='0' * 64))
    (folder / 'model.json').write_text(json.dumps(dict(content, variants=variants)))
    with pytest.raises(FileNotFoundError, match='model_int8.onnx, which model.json names'):
        OnnxOneFormer(folder, precision='int8')
    (folder / 'model_int8.onnx').write_bytes(b'')
    with pytest.raises(ValueError, match='model_int8.onnx is not the file that model.json was wr'):
        OnnxOneFormer(folder, precision='int8')
    assert replace(OnnxOneFormer(folder).description, variants={}).variants == {}
