"""What all tests share."""

import gc
import logging
import os
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from yapf.yapflib import yapf_api

FORMAT_CODE = yapf_api.FormatCode
ROOT = Path(__file__).resolve().parents[1]
# an environment that several clones share may have the package of another one
sys.path.insert(0, str(ROOT / 'projects'))

from mmengine.logging import MMLogger  # noqa: E402
from runs import forget_runs  # noqa: E402

import oneformer  # noqa: E402, F401  before mmdet
from benchmarks.peers.sides import double_precision  # noqa: E402
from oneformer.host.lines import installed_line  # noqa: E402
from oneformer.quickstart.scenes import generate  # noqa: E402
from oneformer.training import curves  # noqa: E402

DRAW_CURVES = curves.draw_curves


def pytest_configure(config):
    """With the original OpenMMLab packages some tests are left out, see ``upstream``."""
    if installed_line() == 'openmmlab':
        from upstream import LeftOut

        config.pluginmanager.register(LeftOut(config))


def pytest_collection_finish():
    """Take what is imported from the garbage collector, which mmengine calls for every dataset."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope='session')
def mmdet_scope():
    """Registries look things up in mmdet, as in a run."""
    init_default_scope('mmdet')


@pytest.fixture(autouse=True, scope='session')
def unformatted_configs():
    """A runner writes its config as Python four times, which yapf takes two seconds to indent.

    Tests in this process do without; the tools that they start as processes of their own do not,
    nor do those that ask for ``formatted_configs``.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yapf_api, 'FormatCode', lambda text, **style: (text, False))
        yield


@pytest.fixture
def formatted_configs(monkeypatch):
    """Configs are written as mmengine writes them."""
    monkeypatch.setattr(yapf_api, 'FormatCode', FORMAT_CODE)


@pytest.fixture(autouse=True, scope='session')
def undrawn_curves():
    """Drawing the curves of a run takes half a second; tests in this process do without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, 'draw_curves', lambda *args: b'')
        yield


@pytest.fixture
def drawn_curves(monkeypatch):
    """Curves are drawn."""
    monkeypatch.setattr(curves, 'draw_curves', DRAW_CURVES)


@pytest.fixture(scope='session')
def root_dir():
    """The repository."""
    return ROOT


@pytest.fixture(scope='session')
def config_dir():
    """The shipped configs."""
    return ROOT / 'configs'


@pytest.fixture(scope='session')
def shared_dir():
    """The team's shared folder; tests that need it are skipped where it does not exist."""
    path = Path(os.environ.get('ONEFORMER_SHARED', ROOT.parent / 'shared'))
    if not path.is_dir():
        pytest.skip(f'no shared folder at {path}: set ONEFORMER_SHARED')
    return path


@pytest.fixture(scope='session')
def load_tool():
    """Import a file of tools/, which is not a package."""
    import importlib.util

    def load(name):
        spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope='session')
def forked_python(tmp_path_factory):
    """A Python command that has everything imported, see the module of this name."""
    from forked_python import Interpreter

    interpreter = Interpreter(tmp_path_factory.mktemp('python'), ROOT / 'projects')
    yield str(interpreter.command)
    interpreter.close()


@pytest.fixture(scope='session')
def tiny_set(tmp_path_factory):
    """Sixteen training and five validation photographs of the quick start, 96 px."""
    folder = tmp_path_factory.mktemp('data') / 'tiny'
    generate(str(folder), train=16, val=5, size=96)
    return folder


@pytest.fixture
def run_tool(load_tool, monkeypatch, tmp_path, capsys):
    """Run a tool in this process, in an empty folder; returns what it printed."""

    def run(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr('sys.argv', [f'{name}.py', *map(str, arguments)])
        capsys.readouterr()
        forget_runs()
        load_tool(name).main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def benchmark_here(load_tool, monkeypatch):
    """``tools/benchmark.py``, whose work is done in this process, not in others."""
    tool = load_tool('benchmark')
    monkeypatch.setattr(tool.jobs.memory, 'in_own_process', lambda work, *given: work(*given))
    threads = torch.get_num_threads()
    yield tool
    torch.set_num_threads(threads)


@pytest.fixture
def double():
    """Double precision all over: in training, rounding errors grow."""
    with double_precision():
        yield


@pytest.fixture
def run_command(monkeypatch, tmp_path, capsys):
    """Run ``oneformer NAME ...`` in this process, in an empty folder; returns what it printed."""
    import oneformer_cli

    def run(name, *arguments):
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        forget_runs()
        assert not oneformer_cli.main([name, *map(str, arguments)])
        return capsys.readouterr().out

    return run


@pytest.fixture
def scene(tmp_path):
    """A folder with two images and their panoptic PNGs."""
    import coco_scenes

    coco_scenes.write_images(tmp_path / 'img', ('1.jpg', '2.jpg'))
    coco_scenes.write_panoptic_pngs(tmp_path / 'seg')
    return tmp_path


@pytest.fixture
def said(caplog):
    """Asks for the warnings that were logged since, or what has another level."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)

    def warnings(level=logging.WARNING):
        found = [r.getMessage() for r in caplog.records if r.levelno == level]
        caplog.clear()
        return found

    yield warnings
    logger.removeHandler(caplog.handler)
