"""``OnnxOneFormer``: an exported model predicts what the inferencer does on the same logits.

The graphs are made by hand and run by onnxruntime; the network of torch beside them computes the
same from the image and the task.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from onnx_graphs import Linear, save_replay, write_folder
from PIL import Image
from toy_model import decisive, toy_config

from oneformer.deploy.description import describe_model
from oneformer.inference import OneFormerInferencer
from oneformer.inference.settings import read_settings
from oneformer.tasks import TASKS
from oneformer.zoo import find_config
from oneformer_runtime import DescriptionError, OnnxOneFormer
from oneformer_runtime import description as description_module
from oneformer_runtime.model_json import parse_description, read_description, write_description

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart'
LOOSE = dict(object_mask_thr=0.1, iou_thr=0.0, score_thr=0.0)
FIELDS = ('panoptic_map', 'segments', 'masks', 'labels', 'scores', 'boxes', 'semantic_map', 'names')


@pytest.fixture(scope='module')
def images():
    """Four images of three sizes, BGR."""
    rng = np.random.default_rng(0)
    sizes = (6, 9), (9, 6), (6, 9), (25, 10)
    coarse = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    return [cv2.resize(c, None, fx=16, fy=16, interpolation=cv2.INTER_LINEAR) for c in coarse]


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    """The quick start's model, whose network is a ``Linear``."""
    model = MODELS.build(Config.fromfile(find_config(QUICKSTART)).model)
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    inferencer = OneFormerInferencer(QUICKSTART, path, 'cpu')
    inferencer.linear = Linear.random(inferencer.model.num_classes, 14)
    inferencer.model.run_network = inferencer.linear.in_torch
    return inferencer


@pytest.fixture(scope='module')
def description(inferencer):
    pipeline = read_settings(QUICKSTART).pipeline
    return describe_model(inferencer.model, pipeline, inferencer.dataset_meta, name='tiny')


@pytest.fixture(scope='module')
def folder(inferencer, description, tmp_path_factory):
    """The same as an exported model."""
    return write_folder(tmp_path_factory.mktemp('exported'), description, inferencer.linear)


@pytest.fixture(scope='module')
def model(folder):
    return OnnxOneFormer(folder)


def assert_equal(own, theirs):
    """All fields are equal up to rounding, which may decide single pixels."""
    assert (own.name, own.path, own.tasks, own.size) == (
        theirs.name,
        theirs.path,
        theirs.tasks,
        theirs.size,
    )
    for name in FIELDS:
        one, other = getattr(own, name), getattr(theirs, name)
        if name == 'segments' and one is not None:
            assert len(one) == len(other)
            for mine, segment in zip(one, other):
                assert set(mine) == set(segment)
                assert [mine[k] for k in ('id', 'label', 'isthing', 'category')] == [
                    segment[k] for k in ('id', 'label', 'isthing', 'category')
                ]
                assert mine['score'] == pytest.approx(segment['score'], abs=1e-5)
                assert mine['area'] == pytest.approx(segment['area'], abs=3)
                assert np.abs(np.subtract(mine['bbox'], segment['bbox'])).max() <= 1
        elif name == 'scores' and one is not None:
            np.testing.assert_allclose(one, other, atol=1e-5)
        elif isinstance(one, np.ndarray):
            assert one.dtype == other.dtype and one.shape == other.shape, name
            assert np.count_nonzero(one != other) <= 2e-4 * one.size, name
        else:
            assert one == other


@pytest.mark.parametrize('tasks', [*TASKS, ('semantic', 'panoptic'), TASKS])
def test_arrays_give_what_the_inferencer_gives(model, inferencer, images, tasks):
    found = model(images, tasks, **LOOSE)
    expected = inferencer(images, tasks=tasks, progress=False, **LOOSE)
    for own, theirs in zip(found, expected, strict=True):
        assert_equal(own, theirs)
    if 'panoptic' in tasks:
        assert all(len(prediction.segments) > 2 for prediction in found)


def test_the_defaults_are_those_of_the_model(model, inferencer, images):
    for own, theirs in zip(model(images), inferencer(images, progress=False), strict=True):
        assert own.tasks == TASKS
        assert_equal(own, theirs)


@pytest.mark.parametrize('batch', [2, 3])
def test_a_batch_does_not_change_predictions(model, images, batch):
    asked = []
    network = model.network
    try:
        model.network = lambda images, tasks: (asked.append(len(images)), network(images, tasks))[1]
        found = model(images, batch=batch, **LOOSE)
    finally:
        model.network = network
    assert sorted(asked) == [1, 1, 2]  # two of the images have one size
    for own, alone in zip(found, (model(image, **LOOSE)[0] for image in images), strict=True):
        alone.name = own.name
        assert_equal(own, alone)


def test_files_of_all_kinds_are_read_as_by_the_inferencer(model, inferencer, images, tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    picture = Image.fromarray(images[0][..., ::-1])
    picture.save(tmp_path / 'turned.jpg', exif=tags)
    picture.convert('L').save(tmp_path / 'grey.png')
    clear = picture.convert('RGBA')
    clear.putalpha(77)
    clear.save(tmp_path / 'clear.png')
    cv2.imwrite(str(tmp_path / 'deep.png'), images[0].astype(np.uint16) * 16)
    files = sorted(tmp_path.iterdir())
    for options in ({}, dict(orientation='stored', value_range=(0, 3000))):
        found = model(files, **LOOSE, **options)
        expected = inferencer(files, progress=False, **LOOSE, **options)
        for own, theirs in zip(found, expected, strict=True):
            assert_equal(own, theirs)
        assert found[3].size == ((96, 144) if options else (144, 96))


def test_what_may_be_meant_otherwise_is_logged_once(
    inferencer, description, images, tmp_path, caplog
):
    path = str(tmp_path / 'clear.png')
    cv2.imwrite(path, np.dstack([images[0], images[0][..., 0] // 2]))
    things = description.classes
    model = OnnxOneFormer(
        write_folder(tmp_path / 'model', description, inferencer.linear, thing_classes=things)
    )
    model([path, path], 'semantic')
    assert [record.name for record in caplog.records] == ['oneformer_runtime']
    assert '100.0 % transparent pixels' in caplog.text
    for _ in range(2):
        model(images[0], 'instance', score_thr=0.01, max_per_image=2)
    assert caplog.text.count('2 confident instances, which is max_per_image') == 1


def test_the_logits_of_a_model_of_torch_are_decoded_alike(config_dir, tiny_set, tmp_path):
    """A graph that replays what the toy model computes, for an image that is not resized evenly."""
    cfg = toy_config(config_dir, tiny_set)
    image = cv2.imread(str(min((tiny_set / 'val').glob('*.jpg'))))[:90, :71]
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float()
    cfg.model.data_preprocessor.update(mean=[120, 110, 100], std=[60, 59, 58])
    network = decisive(cfg.model, rgb)
    weights = tmp_path / 'decisive.pth'
    torch.save(dict(state_dict=network.state_dict(), meta={}), weights)
    inferencer = OneFormerInferencer(cfg, weights, 'cpu')
    seen, run = [], inferencer.model.run_network
    inferencer.model.run_network = (
        lambda *inputs, **named: seen.append(run(*inputs, **named)) or seen[-1]
    )
    (theirs,) = inferencer(image, progress=False, **LOOSE)
    (outputs,) = seen
    masks = torch.stack([outputs.of_image(0, task).mask_logits() for task in TASKS])
    folder = tmp_path / 'exported'
    folder.mkdir()
    save_replay(folder, outputs.cls_scores[0].numpy(), masks.numpy())
    settings = read_settings(cfg)
    described = describe_model(inferencer.model, settings.pipeline, inferencer.dataset_meta)
    assert described.image.padding == (120, 110, 100)
    write_description(described, folder)
    (own,) = OnnxOneFormer(folder)(image, **LOOSE)
    assert_equal(own, theirs)
    assert len(own.segments) > 1 and len(own.labels) > 3


def test_one_task_word_may_condition_all(inferencer, description, images, tmp_path):
    folder = write_folder(tmp_path / 'one', description, inferencer.linear, token='semantic')
    found = OnnxOneFormer(folder)(images[0], **LOOSE)
    inferencer.model.test_cfg['token'] = 'semantic'
    try:
        expected = inferencer(images[0], progress=False, **LOOSE)
    finally:
        del inferencer.model.test_cfg['token']
    assert_equal(found[0], expected[0])


def test_images_are_fitted_into_a_graph_of_fixed_size(inferencer, description, images, tmp_path):
    image = replace(description.image, size=(96, 128))
    write_folder(tmp_path, description, inferencer.linear, image=image)
    with pytest.raises(DescriptionError, match=r'takes images of any size, but image.size of'):
        OnnxOneFormer(tmp_path)
    inferencer.linear.save(tmp_path, ('B', 96, 128))
    write_description(replace(description, image=image), tmp_path)
    sizes = [prediction.size for prediction in OnnxOneFormer(tmp_path)(images, batch=4)]
    assert sizes == [image.shape[:2] for image in images]


@pytest.mark.parametrize(
    'inputs, options, message',
    [
        (None, {}, 'a NoneType is not an image'),
        ([], {}, 'no input'),
        ('', {}, "input '' is not an image"),
        ([b'a'], {}, "input b'a' is not an image"),
        (Image.new('RGB', (4, 4)), {}, r'an image of Pillow \(its path is, or np.asarray'),
        (np.zeros((8, 8, 3)), {}, r'\(image \* 255\).round\(\)'),
        (np.full((8, 8, 3), 77.5), {}, 'give BGR of uint8'),
        (np.zeros((3, 8, 8), np.uint8), {}, 'its channels come first'),
        (np.zeros((2, 8, 8, 3), np.uint8), {}, 'give the images of a batch as a list'),
        (np.zeros((8, 8, 3), np.uint8), dict(tasks='depth'), "unknown task 'depth': choose one"),
        (np.zeros((8, 8, 3), np.uint8), dict(tasks=[]), 'no task'),
        (np.zeros((8, 8, 3), np.uint8), dict(batch=0), 'batch is 0'),
        (np.zeros((8, 8, 3), np.uint8), dict(score_thr=30), 'score_thr is 30'),
        (np.zeros((8, 8, 3), np.uint8), dict(iou_thr=-1), 'iou_thr is -1'),
        (np.zeros((8, 8, 3), np.uint8), dict(max_per_image=1.5), 'max_per_image is 1.5'),
        (np.zeros((8, 8, 3), np.uint8), dict(orientation='up'), "orientation is 'up'"),
    ],
)
def test_what_is_not_an_input_is_refused_with_the_remedy(model, inputs, options, message):
    with pytest.raises(ValueError, match=message):
        model(inputs, **options)


def test_missing_files_are_named(model, folder, tmp_path):
    for path, error, message in (
        (tmp_path / 'no.jpg', FileNotFoundError, 'no.jpg does not exist'),
        (tmp_path, IsADirectoryError, 'is a folder: give a list'),
    ):
        with pytest.raises(error, match=message):
            model(path)
    with pytest.raises(FileNotFoundError, match='model.json does not exist: give the folder of an'):
        OnnxOneFormer(tmp_path)
    (tmp_path / 'model.json').write_bytes((folder / 'model.json').read_bytes())
    with pytest.raises(FileNotFoundError, match='model.onnx, which model.json names, does not'):
        OnnxOneFormer(tmp_path)


def changed(content, key, value):
    """The content with another value at a key, without it for ``...``."""
    content = json.loads(json.dumps(content))
    *parts, last = key.split('.')
    place = content
    for part in parts:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return content


def test_a_description_comes_back_as_it_was(description, folder):
    read = read_description(folder)
    assert replace(read, sha256='') == replace(description, sha256='')
    assert read.classes == description.classes and len(read.sha256) == 64
    assert read.default_tasks == TASKS and read.name == 'tiny'
    assert [path.name for path in sorted(folder.iterdir())] == ['model.json', 'model.onnx']


def test_class_names_may_be_of_any_language(inferencer, description, images, tmp_path):
    classes = ('Straße', '道路', *description.classes[2:])
    renamed = dict(zip(description.classes, classes))
    things = tuple(renamed[name] for name in description.thing_classes)
    network = inferencer.linear
    write_folder(tmp_path, description, network, classes=classes, thing_classes=things)
    assert 'Straße' in (tmp_path / 'model.json').read_text(encoding='utf-8')
    assert OnnxOneFormer(tmp_path)(images[0], 'semantic')[0].names == classes


@pytest.mark.parametrize('key', ['versions', 'agreement', 'token', 'category_ids'])
def test_some_keys_may_be_left_out(description, key):
    parse_description(changed(description.content(), key, ...))


@pytest.mark.parametrize(
    'key, value, message',
    [
        ('format', 'other', "format is 'other', not 'oneformer-onnx': give the folder"),
        ('format', ..., 'format is None'),
        ('format_version', 2, 'format_version is 2, and this runtime reads 1 at most: install a'),
        ('format_version', '1', "format_version is '1', not a whole number from 1: export"),
        ('tasks', ['semantic', 'instance', 'panoptic'], 'tasks is .* in this order'),
        ('default_tasks', ['depth'], r"default_tasks is \['depth'\], not one or more of panoptic"),
        ('default_tasks', [], r'default_tasks is \[\]'),
        ('token', 'depth', "token is 'depth'"),
        ('classes', ..., 'classes is missing: export the model again'),
        ('classes', [], r'classes is \[\], not a list of different names'),
        ('classes', ['a', 'a'], 'not a list of different names'),
        ('thing_classes', ['no such'], "thing_classes names 'no such', which is not among"),
        ('palette', [[1, 2, 3]], 'palette is .* colours'),
        ('palette', ..., 'palette is missing'),
        ('category_ids', [1], 'category_ids is'),
        ('image', 7, 'image.short_edge is missing'),
        ('image.short_edge', 0, 'image.short_edge is 0, not a whole number from 1'),
        ('image.max_size', True, 'image.max_size is True'),
        ('image.divisor', 6, 'image.divisor is 6, not a multiple of 4'),
        ('image.padding', [1, 2], r'image.padding is \[1, 2\], not three numbers from 0 to 255'),
        ('image.size', [33, 64], r'image.size is \[33, 64\], not'),
        ('image.orientation', 'up', r"image.orientation cannot be used \(orientation is 'up'"),
        ('image.value_range', [9, 1], 'image.value_range cannot be used'),
        ('masks.interpolation', 'nearest', "masks.interpolation is 'nearest', not 'bilinear'"),
        ('thresholds.iou_thr', 1.5, 'thresholds.iou_thr is 1.5, not a number from 0 to 1'),
        ('thresholds.object_mask_thr', None, 'thresholds.object_mask_thr is None'),
        ('thresholds.max_per_image', 0, 'thresholds.max_per_image is 0'),
        ('model.file', '../model.onnx', "model.file is '../model.onnx', not the name of a file"),
        ('versions', [], r'versions is \[\], not an object'),
    ],
)
def test_a_wrong_key_is_named_with_file_and_remedy(description, tmp_path, key, value, message):
    (tmp_path / 'model.json').write_text(json.dumps(changed(description.content(), key, value)))
    with pytest.raises(DescriptionError, match=message) as error:
        read_description(tmp_path)
    assert str(error.value).startswith(f'{tmp_path / "model.json"}: ')


@pytest.mark.parametrize('text', ['', '{"format":', '[1]', '{"a": ' * 5000, '\udcff'])
def test_what_is_not_a_description_is_refused(tmp_path, text):
    (tmp_path / 'model.json').write_bytes(text.encode('utf-8', 'surrogateescape'))
    with pytest.raises(DescriptionError, match=r'model.json (is not|holds no)'):
        read_description(tmp_path)


def test_the_format_is_documented_key_by_key(description):
    told = set(re.findall(r'^    ([\w.]+)(?:, \w+)?  ', description_module.__doc__, re.M))
    told |= {'licence'}  # on one line with the name
    content = description.content()
    inner = {f'{outer}.{key}' for outer in ('image', 'masks') for key in content[outer]}
    assert inner | set(content) - {'image', 'masks'} <= told


def test_a_graph_of_other_numbers_of_classes_is_refused(inferencer, description, tmp_path):
    network = Linear.random(len(description.classes) + 1, 5)
    write_folder(tmp_path, description, network)
    K = len(description.classes)
    message = f'has {K + 2} class logits, but model.json has {K} classes, which needs {K + 1}'
    with pytest.raises(DescriptionError, match=message):
        OnnxOneFormer(tmp_path)


def test_a_graph_that_is_not_that_of_its_description_is_refused(inferencer, description, tmp_path):
    folder = write_folder(tmp_path, description, inferencer.linear)
    Linear.random(inferencer.model.num_classes, 5).save(folder)
    with pytest.raises(DescriptionError, match='is not the file that model.json was written for'):
        OnnxOneFormer(folder)


def test_a_graph_that_cannot_be_loaded_is_named(description, tmp_path):
    (tmp_path / 'model.onnx').write_bytes(b'no graph')
    write_description(description, tmp_path)
    with pytest.raises(DescriptionError, match=r'model.onnx cannot be loaded by onnxruntime \d'):
        OnnxOneFormer(tmp_path)


def test_numbers_that_are_not_finite_are_refused(inferencer, description, images, tmp_path):
    broken = replace(inferencer.linear, constants=inferencer.linear.constants + np.float32('nan'))
    write_folder(tmp_path, description, broken)
    with pytest.raises(ValueError, match='gives mask_logits that are not finite'):
        OnnxOneFormer(tmp_path)(images[0])


def test_a_batch_that_is_fixed_in_the_graph_is_named(inferencer, description, images, tmp_path):
    inferencer.linear.save(tmp_path, (1, 'H', 'W'))
    write_description(description, tmp_path)
    model = OnnxOneFormer(tmp_path)
    assert len(model(images, 'semantic')) == 4
    with pytest.raises(
        ValueError, match=r'(?s)cannot be run on images of the shape \(2, 3, .*batch=1'
    ):
        model(images, 'semantic', batch=2)


def test_a_provider_that_does_not_start_is_named(folder, monkeypatch):
    """onnxruntime says so on stderr, and goes on without it."""
    monkeypatch.setattr('onnxruntime.get_available_providers', lambda: ['Other'])
    started = onnxruntime.InferenceSession
    monkeypatch.setattr(
        'onnxruntime.InferenceSession',
        lambda *args, providers: started(*args, providers=['CPUExecutionProvider']),
    )
    with pytest.raises(ValueError, match="provider 'Other' of onnxruntime does not start here"):
        OnnxOneFormer(folder, providers=[('Other', {'device_id': 0})])


def test_providers_and_threads_are_checked(folder, images, model):
    with pytest.raises(ValueError, match="no provider 'NoSuchProvider': install the package of"):
        OnnxOneFormer(folder, providers=['NoSuchProvider'])
    with pytest.raises(ValueError, match='threads is 0'):
        OnnxOneFormer(folder, threads=0)
    chosen = OnnxOneFormer(folder, providers=['CPUExecutionProvider'], threads=1)
    assert chosen.network.engine.session.get_session_options().intra_op_num_threads == 1
    assert_equal(chosen(images[0])[0], model(images[0])[0])


def test_settings_that_the_runtime_does_not_have_are_refused(inferencer, monkeypatch):
    model, meta = inferencer.model, inferencer.dataset_meta
    pipeline = read_settings(QUICKSTART).pipeline
    for steps, message in (
        ([*pipeline, dict(type='mmdet.Resize', scale=(8, 8))], 'the test pipeline has Resize'),
        (pipeline[:1], 'has 0 ResizeShortEdge'),
    ):
        with pytest.raises(ValueError, match=message):
            describe_model(model, steps, meta)
    monkeypatch.setitem(model.test_cfg, 'window', dict(size=512, overlap=64))
    with pytest.raises(ValueError, match='model.test_cfg.window'):
        describe_model(model, pipeline, meta)


BLOCKED = ('torch', 'mmcv', 'mmengine', 'mmdet', 'mmseg', 'oneformer', 'PIL', 'scipy')
ALONE = f"""
import sys
class Blocked:
    def find_spec(self, name, *args):
        if name.split('.')[0] in {BLOCKED}:
            raise ImportError(f'{{name}} is not installed here')
sys.meta_path.insert(0, Blocked())
import oneformer_runtime
assert 'onnxruntime' not in sys.modules
model = oneformer_runtime.OnnxOneFormer(sys.argv[1], threads=1)
(prediction,) = model(sys.argv[2], **{LOOSE})
print(prediction.panoptic_map.sum(), len(prediction.labels), prediction.semantic_map.sum())
"""


def test_it_runs_where_neither_torch_nor_openmmlab_is(folder, model, images, tmp_path, root_dir):
    path = tmp_path / 'a.png'
    cv2.imwrite(str(path), images[0])
    done = subprocess.run(
        [sys.executable, '-c', ALONE, str(folder), str(path)],
        env={**os.environ, 'PYTHONPATH': str(root_dir / 'projects')},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert not done.returncode, done.stderr
    (own,) = model(path, **LOOSE)
    expected = own.panoptic_map.sum(), len(own.labels), own.semantic_map.sum()
    assert done.stdout.split() == [str(number) for number in expected]


def with_requirements(name):
    """Names of a distribution and of what it needs here, at any depth."""
    names, waiting = set(), [name]
    while waiting:
        name = waiting.pop()
        if name not in names:
            names.add(name)
            needed = [line for line in metadata.requires(name) or () if 'extra ==' not in line]
            waiting += [re.match(r'[\w.-]+', line)[0].lower() for line in needed]
    return names


def test_what_it_needs_is_small(root_dir):
    """OpenCV is installed here in another version than it asks for; the long test has that."""
    names = with_requirements('onnxruntime')
    assert names == {'numpy', 'onnxruntime', 'flatbuffers', 'packaging', 'protobuf'}
    paths = [file.locate() for name in names for file in metadata.files(name)]
    size = sum(path.stat().st_size for path in paths if path.is_file())
    own = sum(path.stat().st_size for path in (root_dir / 'projects/oneformer_runtime').iterdir())
    assert size < 165e6 and own < 2e6


SIZES = """
from importlib import metadata
print(sum(
    file.locate().stat().st_size
    for found in metadata.distributions()
    if found.name not in ('pip', 'setuptools')
    for file in found.files
    if file.locate().is_file()
))
"""


@pytest.mark.long
def test_a_clean_environment_stays_under_300_mb_and_predicts(
    folder, model, images, tmp_path, root_dir
):
    """Fetches onnxruntime, numpy and OpenCV from the package index."""

    def run(*command):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path)
        assert not done.returncode, done.stderr
        return done.stdout

    run(sys.executable, '-m', 'venv', tmp_path / 'env')
    python = tmp_path / 'env/bin/python'
    for name in ('projects', 'packaging', 'requirements'):  # a build leaves files
        shutil.copytree(root_dir / name, tmp_path / name)
    run(python, '-m', 'pip', 'install', '-q', tmp_path / 'packaging/oneformer_runtime')
    size = int(run(python, '-c', SIZES))
    print(f'oneformer-runtime and what it needs: {size / 1e6:.0f} MB')
    assert 1e8 < size < 3e8
    cv2.imwrite(str(tmp_path / 'a.png'), images[0])
    (own,) = model(tmp_path / 'a.png', **LOOSE)
    found = run(python, '-c', ALONE, folder, tmp_path / 'a.png').split()
    expected = own.panoptic_map.sum(), len(own.labels), own.semantic_map.sum()
    assert found == [str(number) for number in expected]
