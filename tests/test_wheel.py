"""The wheel in an environment of its own, outside the repository: all that the README promises."""

import os
import re
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from forked_python import Interpreter

SOURCES = ('projects', 'configs', 'tools', 'requirements')
FILES = ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE', 'model-index.yml')
TINY = ('train_dataloader.batch_size=2', 'train_dataloader.num_workers=0')


def run(*command, cwd, fails=False, **options):
    """Run a command; its whole output."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def wheel(root_dir, tmp_path_factory):
    """The wheel, built from the source distribution.

    That is made of a copy of the checkout, since a build leaves files in its folder.
    """
    folder = tmp_path_factory.mktemp('wheel')
    ignored = shutil.ignore_patterns('__pycache__', '*.egg-info')
    for name in SOURCES:
        shutil.copytree(root_dir / name, folder / 'source' / name, ignore=ignored)
    for name in FILES:
        shutil.copy(root_dir / name, folder / 'source')
    run(sys.executable, 'setup.py', '-q', 'sdist', '-d', folder, cwd=folder / 'source')
    (archive,) = folder.glob('oneformer-*.tar.gz')
    pip = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation']
    run(*pip, '--no-index', '-w', folder, archive, cwd=folder)
    (wheel,) = folder.glob('oneformer-*.whl')
    return wheel


@pytest.fixture(scope='module')
def place(wheel, tmp_path_factory):
    """An empty folder, with an environment beside it that has the wheel.

    Its dependencies are those of this environment, which stand behind the wheel in the path; the
    checkout that is installed here by a .pth file is not among them, since only an environment's
    own folder has its .pth files read.
    """
    folder = tmp_path_factory.mktemp('installed')
    run(sys.executable, '-m', 'venv', '--without-pip', folder / 'env', cwd=folder)
    python = folder / 'env/bin/python'
    pip = [sys.executable, '-m', 'pip', '--python', python, 'install', '-q', '--no-index']
    run(*pip, '--no-deps', wheel, cwd=folder)
    (own,) = (folder / 'env').glob('lib/*/site-packages')
    (own / 'dependencies.pth').write_text('\n'.join(site.getsitepackages()))
    (folder / 'work').mkdir()
    return folder / 'work'


@pytest.fixture(scope='module')
def python(place, tmp_path_factory):
    """The environment's Python, which has imported the wheel once for all tests."""
    env = place.parent / 'env'
    (packages,) = env.glob('lib/*/site-packages')
    interpreter = Interpreter(tmp_path_factory.mktemp('python'), packages, env / 'bin/python')
    yield interpreter.command
    interpreter.close()


@pytest.fixture(scope='module')
def oneformer(python, place):
    """Run a sub-command of the wheel in the empty folder."""
    return lambda *words, **options: run(python, '-m', 'oneformer', *words, cwd=place, **options)


@pytest.fixture(scope='module')
def checkpoint(oneformer, place):
    """Two iterations by a name of the zoo, on four drawn images."""
    oneformer('demo-data', 'data/quickstart', '--train', 4, '--val', 1, '--size', 64)
    name, options = 'oneformer_efficientnet-lite0_quickstart', ['train_cfg.max_iters=2', *TINY]
    printed = oneformer('train', name, '--cfg-options', *options)
    assert 'Iter(train) [2/2]' in printed or 'Iter(train) [ 2/2]' in printed, printed
    return place / 'work_dirs/quickstart/iter_2.pth'


def test_the_wheel_holds_what_the_package_opens(wheel, root_dir):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ('configs', 'tools', 'requirements'):
        expected = {
            f'oneformer/.mim/{path.relative_to(root_dir).as_posix()}'
            for path in (root_dir / folder).rglob('*')
            if path.is_file()
            and '__pycache__' not in path.parts
            and path.name not in ('benchmark.py', 'gpu_check.py')
        }
        assert expected <= names
    assert {'oneformer/.mim/model-index.yml', 'oneformer/py.typed', 'oneformer_cli.py'} <= names
    assert {'oneformer_runtime/onnx_oneformer.py', 'oneformer_runtime/py.typed'} <= names
    assets = root_dir / 'projects/oneformer_runtime/page/assets'
    page = {path.relative_to(assets).as_posix() for path in assets.rglob('*') if path.is_file()}
    assert {f'oneformer_runtime/page/assets/{name}' for name in page} <= names
    assert not [name for name in names if 'test' in Path(name).name and name.startswith('tests')]


def test_models_are_listed_without_torch(place):
    assert 'oneformer_swin-l_ade20k' in run(place.parent / 'env/bin/oneformer', 'list', cwd=place)
    code = 'import sys, oneformer_cli as c; c.main(["list"]); assert "torch" not in sys.modules'
    run(place.parent / 'env/bin/python', '-c', code, cwd=place)


def test_the_package_is_the_wheel_and_says_what_is_installed(python, place):
    printed = run(place.parent / 'env/bin/oneformer', 'doctor', cwd=place)
    assert re.search(r'^oneformer +0\.\d+\.\d+', printed, re.M), printed
    where = 'import oneformer, oneformer.zoo as z; print(oneformer.__file__, z.ZOO)'
    paths = run(python, '-c', where, cwd=place).split()
    assert all(str(place.parent / 'env') in path for path in paths), paths


def test_a_trained_checkpoint_predicts(oneformer, checkpoint, place):
    (image,) = (place / 'data/quickstart/val').glob('*.jpg')
    oneformer('predict', image, '--weights', checkpoint, '--out-dir', 'out')
    written = {path.relative_to(place / 'out').as_posix() for path in (place / 'out').rglob('*.*')}
    assert {f'panoptic/{image.stem}.png', 'panoptic.json', 'instance.json'} <= written


def test_the_lines_of_the_readme_run(checkpoint, place, python, root_dir):
    """The first Python block, with these weights in place of those that have to be fetched."""
    block = re.search(r'```python\n(.*?)```', (root_dir / 'README.md').read_text(), re.S)[1]
    model = re.search(r"OneFormerInferencer\('([\w-]+)'\)", block)[1]
    (image,) = (place / 'data/quickstart/val').glob('*.jpg')
    shutil.copy(image, place / 'street.jpg')
    code = block.replace(f"'{model}'", f'weights={str(checkpoint)!r}')
    run(python, '-c', code, cwd=place)


def test_a_new_config_is_that_of_the_wheel(oneformer, place):
    printed = oneformer('init', 'mine', '--labels', 'instance')
    assert 'oneformer check mine/config.py' in printed
    printed = oneformer('check', 'mine/config.py', fails=True)
    assert str(place / 'mine/data/train.json') in printed
    assert 'Traceback' not in printed


def test_launch_scripts_of_the_wheel_start_its_command(place, python):
    scripts = place.parent / 'env/lib'
    (script,) = scripts.glob('*/site-packages/oneformer/.mim/tools/dist_train.sh')
    environment = {**os.environ, 'ONEFORMER_PYTHON': str(python)}
    printed = run('bash', script, 'config.py', 2, '--dry-run', cwd=place, env=environment)
    assert f'{script.parent}/train.py config.py --launcher pytorch' in printed
    code = f'import sys; sys.path[:0] = [{str(script.parent)!r}]; import train; print(train.main)'
    assert 'main' in run(python, '-c', code, cwd=place)
