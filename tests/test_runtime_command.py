"""``oneformer predict --weights FOLDER`` of an exported model, and the small distribution."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import oneformer_cli
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from onnx_graphs import Linear, write_folder

import oneformer
from oneformer.deploy.description import describe_model
from oneformer.inference import OneFormerInferencer
from oneformer.inference.settings import read_settings
from oneformer.zoo import find_config
from oneformer_runtime.model_json import exported_folder

QUICKSTART = 'oneformer_efficientnet-lite0_quickstart'


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    model = MODELS.build(Config.fromfile(find_config(QUICKSTART)).model)
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    inferencer = OneFormerInferencer(QUICKSTART, path, 'cpu')
    inferencer.linear = Linear.random(inferencer.model.num_classes, 14)
    inferencer.model.run_network = inferencer.linear.in_torch
    return inferencer


@pytest.fixture(scope='module')
def folder(inferencer, tmp_path_factory):
    pipeline = read_settings(QUICKSTART).pipeline
    described = describe_model(inferencer.model, pipeline, inferencer.dataset_meta)
    return write_folder(tmp_path_factory.mktemp('exported'), described, inferencer.linear)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """Four images of three sizes."""
    rng, folder = np.random.default_rng(3), tmp_path_factory.mktemp('images')
    for k, size in enumerate([(6, 9), (9, 6), (6, 9), (7, 9)]):
        coarse = rng.integers(0, 256, (*size, 3), np.uint8)
        image = cv2.resize(coarse, None, fx=13, fy=13, interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(folder / f'{k}.png'), image)
    return folder


def contents(folder):
    """Files by their names below a folder: pixels of pictures, content of JSON."""
    found = {}
    for path in folder.rglob('*.*'):
        name = path.relative_to(folder).as_posix()
        if path.suffix == '.json':
            found[name] = json.loads(path.read_text())
        else:
            found[name] = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return found


@pytest.mark.parametrize('batch', [1, 3])
def test_it_writes_the_files_that_torch_writes(folder, inferencer, images, run_command, batch):
    limits = ['--object-mask-thr', 0.1, '--iou-thr', 0, '--score-thr', 0.1]
    options = ['--format', 'coco', '--batch-size', batch, '--out-dir', 'own', *limits]
    printed = run_command('predict', images, '--weights', folder, *options)
    assert 'predicted images and frames: 4' in printed
    inferencer(
        images,
        'theirs',
        formats=['coco'],
        object_mask_thr=0.1,
        iou_thr=0,
        score_thr=0.1,
        progress=False,
    )
    own, expected = contents(Path('own')), contents(Path('theirs'))
    assert set(own) == set(expected) and len(own) == 4 * 5 + 3
    for name, value in expected.items():
        if name.endswith('.json'):
            assert len(json.dumps(own[name])) == pytest.approx(len(json.dumps(value)), rel=0.05)
            for key in set(value) - {'annotations'} if isinstance(value, dict) else ():
                assert own[name][key] == value[key], (name, key)
        else:
            assert (own[name] != value).mean() < 5e-3, name


def test_the_graph_may_be_named_and_classes_chosen(folder, images, inferencer):
    by_file = OneFormerInferencer(weights=folder / 'model.onnx')
    names = list(by_file.dataset_meta['classes'][:2])
    image = str(images / '0.png')
    options = dict(tasks=['panoptic', 'semantic'], classes=names, object_mask_thr=0.1, iou_thr=0)
    (own,) = by_file(image, progress=False, **options)
    (theirs,) = inferencer(image, progress=False, **options)
    assert set(np.unique(own.semantic_map)) <= {-1, 0, 1}
    assert (own.semantic_map != theirs.semantic_map).mean() < 1e-3
    assert [s['label'] for s in own.segments] == [s['label'] for s in theirs.segments]


@pytest.mark.parametrize(
    'option, value, reason',
    [
        ('--model', QUICKSTART, 'holds its own settings: leave out model'),
        ('--device', 'cuda:0', 'runs on the CPU here .*: leave out device'),
        ('--trust-pickle', None, 'is not a pickle: leave out trust_pickle'),
        ('--attention', 'torch', 'has one path of attention: leave out attention'),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(folder, images, option, value, reason):
    words = ['predict', str(images), '--weights', str(folder), option, *([value] if value else [])]
    with pytest.raises(SystemExit, match=f'error: {folder} is an exported model, which {reason}'):
        oneformer_cli.main(words)


def test_what_is_left_of_a_folder_is_named(folder, images, tmp_path):
    shutil.copy(folder / 'model.onnx', tmp_path)
    with pytest.raises(SystemExit, match='model.json does not exist: give the folder of an export'):
        oneformer_cli.main(['predict', str(images), '--weights', str(tmp_path)])


def test_a_folder_of_hugging_face_with_a_graph_of_another_is_not_taken_for_one(folder, tmp_path):
    shutil.copy(folder / 'model.onnx', tmp_path)
    assert exported_folder(tmp_path) == tmp_path
    (tmp_path / 'config.json').write_text('{}')
    assert exported_folder(tmp_path) is None and exported_folder('no/such') is None


def test_without_onnxruntime_the_remedy_is_told(folder, images, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(SystemExit, match=r'error: .*needs onnxruntime: pip install onnxruntime'):
        oneformer_cli.main(['predict', str(images), '--weights', str(folder)])


def test_the_small_wheel_holds_the_package_and_nothing_else(root_dir, tmp_path):
    for name in ('projects/oneformer_runtime', 'packaging'):
        ignored = shutil.ignore_patterns('__pycache__', 'build', '*.egg-info')
        shutil.copytree(root_dir / name, tmp_path / name, ignore=ignored)
    (tmp_path / 'projects/oneformer').mkdir()
    shutil.copy(root_dir / 'projects/oneformer/__init__.py', tmp_path / 'projects/oneformer')
    shutil.copytree(root_dir / 'requirements', tmp_path / 'requirements')
    pip = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation']
    source = tmp_path / 'packaging/oneformer_runtime'
    done = subprocess.run(
        [*pip, '--no-index', '-w', tmp_path, source], capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    (wheel,) = tmp_path.glob('oneformer_runtime-*.whl')
    archive = zipfile.ZipFile(wheel)
    own = {name for name in archive.namelist() if '.dist-info/' not in name}
    package = root_dir / 'projects/oneformer_runtime'
    files = {path for path in package.rglob('*') if path.is_file()}
    assert own == {
        path.relative_to(package.parent).as_posix()
        for path in files
        if '__pycache__' not in path.parts
    }
    (described,) = (name for name in archive.namelist() if name.endswith('/METADATA'))
    text = archive.read(described).decode()
    assert f'\nVersion: {oneformer.__version__}\n' in text
    needed = re.findall(r'^Requires-Dist: ([\w-]+)[^;\n]*$', text, re.M)
    assert needed == ['numpy', 'opencv-python-headless', 'onnxruntime']
    extra = re.findall(r'^Requires-Dist: ([\w-]+).*; extra == "(\w+)"$', text, re.M)
    assert [name for name, group in extra if group == 'openvino'] == ['openvino']
    serve = ['fastapi', 'uvicorn', 'starlette', 'h11', 'prometheus-client']
    assert [name for name, group in extra if group == 'serve'] == serve
