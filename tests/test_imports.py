"""Which folder of the package may import which: every import leads downwards."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'projects/oneformer'

# files beside the folders: the words, classes and codes that all share
SHARED = {
    'checkpoint_names',
    'class_matching',
    'metainfo',
    'object_limits',
    'panoptic_codes',
    'run_length',
    'tasks',
    'zoo',
    'zoo_bases',
}
MAY_IMPORT = dict(
    host=set(),
    images=set(),
    kernels={'host'},
    backbones={'host', 'kernels'},
    models={'host', 'kernels'},
    encoder_only={'backbones', 'host', 'kernels', 'models'},
    datasets={'host', 'images'},
    weights={'host', 'images'},
    deploy={'evaluation', 'host', 'images', 'inference', 'kernels', 'models', 'training'},
    evaluation={'datasets', 'host', 'images'},
    visualization=set(),
    results={'datasets', 'host', 'images'},
    inspection={'datasets', 'host', 'images', 'visualization'},
    preparation={'datasets', 'host', 'images'},
    annotation_formats={'datasets', 'host', 'images', 'inspection', 'preparation'},
    training={'datasets', 'evaluation', 'host', 'images', 'kernels', 'weights'},
    quickstart={'host', 'training', 'weights'},
    studies={'evaluation', 'host', 'images', 'models', 'quickstart', 'training'},
    inference={
        *('datasets', 'evaluation', 'host', 'images', 'kernels', 'models', 'results'),
        *('visualization', 'weights'),
    },
)
MAY_IMPORT['commands'] = set(MAY_IMPORT)
PAPER = {
    'contrastive_loss', 'criterion', 'fusion', 'large_images', 'merged_windows', 'oneformer',
    'oneformer_head', 'pixel_decoder', 'targets', 'task_queries', 'text_mapper', 'transformer',
    'tta',
}  # fmt: skip


def imported(path: Path) -> set[str]:
    """Names right below the package that a file imports."""
    place, found = path.relative_to(PACKAGE).parts[:-1], set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name.split('.') for alias in node.names]
            found.update(parts[1] for parts in names if parts[0] == 'oneformer' and parts[1:])
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = [*place[: len(place) - node.level + 1], *(node.module or '').split('.')]
        elif isinstance(node, ast.ImportFrom) and f'{node.module}.'.startswith('oneformer.'):
            parts = node.module.split('.')[1:]
        else:
            continue
        parts = [part for part in parts if part]
        found.update(parts[:1] or {alias.name for alias in node.names})
    return found


def test_the_folders_are_those_of_the_contract():
    folders = {path.parent.name for path in PACKAGE.glob('*/__init__.py')}
    assert folders == set(MAY_IMPORT)
    assert {path.stem for path in PACKAGE.glob('*.py')} - {'__init__', '__main__'} == SHARED


@pytest.mark.parametrize('folder', MAY_IMPORT)
def test_a_folder_imports_only_what_lies_below_it(folder):
    allowed = (
        MAY_IMPORT[folder] | {folder} | (SHARED if folder not in ('host', 'images') else set())
    )
    for path in (PACKAGE / folder).glob('*.py'):
        assert imported(path) <= allowed, path.name


def test_the_documented_order_of_the_folders_is_that_of_their_imports(root_dir):
    text = (root_dir / 'docs/understand.md').read_text()
    rows = [line.split('|')[1] for line in text.splitlines() if line.startswith('| `')]
    above = []
    for row in rows:
        folders = re.findall(r'`(\w+)/`', row)
        for folder in folders:
            assert MAY_IMPORT[folder] <= {*above}, folder
        above += folders
    assert {*above} == set(MAY_IMPORT)


# what importing adds to the hosts: nothing that they do otherwise is done in another way
ADDED = {
    'Adafactor',  # which mmengine registers: transformers is imported when one is built
    'mmengine.config.config.Config._get_cfg_path',  # also takes 'oneformer::NAME'
    'mmengine.structures.base_data_element.BaseDataElement.pin_memory',  # they have none
}
REPLACED = """
import inspect, sys
sys.path.insert(0, sys.argv[1])
import oneformer, mmdet.apis, mmengine.infer, mmengine.runner
import mmdet.registry
from mmengine.registry import Registry

HOSTS = ('mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg')
KINDS = (staticmethod, classmethod, property)

def is_ours(value):
    if not (inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, KINDS)):
        return False
    value = getattr(value, '__func__', None) or getattr(value, 'fget', None) or value
    return str(getattr(value, '__module__', '')).split('.')[0] == 'oneformer'

def is_theirs(value):
    return inspect.isclass(value) and str(value.__module__).split('.')[0] in HOSTS

def show():
    found = set()
    for name, module in list(sys.modules.items()):
        if name.split('.')[0] not in HOSTS:
            continue
        for key, value in list(vars(module).items()):
            if is_ours(value):
                found.add(f'{name}.{key}')
            if is_theirs(value):
                names = [k for k, v in list(vars(value).items()) if is_ours(v)]
                found.update(f'{value.__module__}.{value.__qualname__}.{k}' for k in names)
    for registry in vars(mmdet.registry).values():
        if isinstance(registry, Registry):
            for name, kind in registry.module_dict.items():
                if is_ours(kind) and name in getattr(registry.parent, 'module_dict', {}):
                    found.add(name)
                if is_ours(kind) and kind.__name__ != name:
                    found.add(name)
    print(*sorted(found))

show()
oneformer.inference.mmdet_apis.support()
oneformer.weights.use_safe_loaders()
show()
"""


def test_importing_replaces_nothing_of_the_hosts():
    command = [sys.executable, '-W', 'ignore', '-c', REPLACED, str(PACKAGE.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported, supporting = (set(line.split()) for line in done.stdout.splitlines()[-2:])
    assert imported == ADDED
    assert supporting > ADDED | {
        'mmdet.apis.inference.get_test_pipeline_cfg',
        'mmdet.apis.det_inferencer.DetInferencer._init_pipeline',
        'LoadImageFromNDArray',
    }


def test_shared_files_import_no_folder_but_host():
    for name in SHARED:
        assert imported(PACKAGE / f'{name}.py') <= SHARED | {'host'}, name


def test_models_are_the_files_of_the_paper():
    assert {path.stem for path in (PACKAGE / 'models').glob('*.py')} - {'__init__'} == PAPER


# what a part of the runtime may import beside numpy, OpenCV and onnxruntime
RUNTIME_PARTS = {
    '.': {'openvino'},
    'page': set(),
    'serving': {'fastapi', 'prometheus_client', 'pydantic', 'starlette', 'uvicorn'},
}


def test_the_parts_of_the_runtime_are_those_of_the_contract():
    runtime = PACKAGE.with_name('oneformer_runtime')
    assert {path.parent.name for path in runtime.glob('*/__init__.py')} == {*RUNTIME_PARTS} - {'.'}


@pytest.mark.parametrize('part', RUNTIME_PARTS)
def test_the_runtime_imports_neither_torch_nor_the_package(part):
    allowed = {'cv2', 'numpy', 'onnxruntime', *sys.stdlib_module_names, *RUNTIME_PARTS[part]}
    for path in (PACKAGE.with_name('oneformer_runtime') / part).glob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module.split('.')[0] in allowed, (path.name, node.module)
            elif isinstance(node, ast.Import):
                names = {alias.name.split('.')[0] for alias in node.names}
                assert names <= allowed, (path.name, names)
