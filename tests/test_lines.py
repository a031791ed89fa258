"""The two lines of OpenMMLab packages: none, one, both, or a mixture is installed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import terminaltables
import yaml

from oneformer.host import lines, tested_versions

ONEDL = {
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmdetection': '3.5.1',
    'onedl-mmsegmentation': '1.4.2',
    'onedl-mmpretrain': '1.3.6',
}
OPENMMLAB = {
    'mmengine': '0.10.7',
    'mmcv': '2.1.0',
    'mmdet': '3.3.0',
    'mmsegmentation': '1.2.2',
    'mmpretrain': '1.2.0',
}
BOTH = 'pip install "oneformer[onedl]"', 'pip install "oneformer[openmmlab]"'


def install(folder, versions):
    """Write what pip leaves of installed distributions."""
    for name, version in versions.items():
        info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
        info.mkdir(parents=True)
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    return folder


def start(root_dir, folder, code='import oneformer', packages=lines._REQUIRED):
    """Run Python where only the standard library, the plugin, a folder and two parts can be found.

    The parts are of the plugin's own requirements.
    """
    folder.mkdir(exist_ok=True)
    for part in (yaml, terminaltables):
        place = folder / part.__name__
        place.unlink(missing_ok=True)
        place.symlink_to(Path(part.__file__).parent)
    for package in packages:
        (folder / package).mkdir(exist_ok=True)
        (folder / package / '__init__.py').write_text(f'raise SystemExit("{package} is imported")')
    paths = [str(root_dir / 'projects'), str(folder)]
    code = f'import sys; sys.path += {paths!r}; {code}'
    return subprocess.run([sys.executable, '-I', '-S', '-c', code], capture_output=True, text=True)


def refusal(*arguments, **kwargs):
    """The one line in which an import ends."""
    ended = start(*arguments, **kwargs)
    assert ended.returncode == 1, ended
    *_, last = ended.stderr.splitlines()
    return last


def test_without_either_line_the_import_names_both_commands_in_one_sentence(root_dir, tmp_path):
    assert refusal(root_dir, tmp_path, packages=()) == (
        'ImportError: oneformer cannot be imported, since mmengine, mmcv, mmdet and mmseg are '
        f'missing: run {BOTH[0]} (OneDL, the maintained forks) or {BOTH[1]} (OpenMMLab, the '
        'original packages)'
    )


@pytest.mark.parametrize(
    'versions, command', [(ONEDL, BOTH[0]), (OPENMMLAB, BOTH[1])], ids=['onedl', 'openmmlab']
)
def test_one_package_that_is_missing_is_named_with_the_command_of_the_installed_line(
    root_dir, tmp_path, versions, command
):
    some = {k: v for k, v in versions.items() if 'seg' not in k}
    last = refusal(root_dir, install(tmp_path, some), packages=('mmengine', 'mmcv', 'mmdet'))
    assert last.endswith(f'since mmseg is missing: run {command}')


@pytest.mark.parametrize('versions', [ONEDL, OPENMMLAB, {}], ids=['onedl', 'openmmlab', 'sources'])
def test_one_line_is_let_through(root_dir, tmp_path, versions):
    # a source tree on the path is of no distribution
    ended = start(root_dir, install(tmp_path, versions), 'from oneformer.host import compat')
    assert 'cannot be imported' not in ended.stderr
    assert ' is imported' in ended.stderr or 'No module named' in ended.stderr, ended


@pytest.mark.parametrize(
    'versions, found, uninstalled, command',
    [
        (
            {**ONEDL, **OPENMMLAB},
            'mmengine belongs to 2 installed distributions, onedl-mmengine 0.10.12 and mmengine '
            '0.10.7 (as do mmcv, mmdet, mmseg and mmpretrain)',
            [*ONEDL, *OPENMMLAB],
            None,
        ),
        (
            {**ONEDL, 'mmcv': '2.1.0'},
            'mmcv belongs to 2 installed distributions, onedl-mmcv 2.3.6 and mmcv 2.1.0',
            [*ONEDL, 'mmcv'],
            None,
        ),
        (
            {**OPENMMLAB, 'mmcv-lite': '2.1.0'},
            'mmcv belongs to 2 installed distributions, mmcv 2.1.0 and mmcv-lite 2.1.0',
            ['mmcv', 'mmcv-lite'],
            BOTH[1],
        ),
        (
            {**OPENMMLAB, 'mmcv-lite': '2.1.0', 'mmcv-full': '1.7.2'},
            'mmcv belongs to 3 installed distributions, mmcv 2.1.0, mmcv-lite 2.1.0 and mmcv-full '
            '1.7.2',
            ['mmcv', 'mmcv-lite', 'mmcv-full'],
            BOTH[1],
        ),
        (
            {'onedl-mmcv': '2.3.6', 'onedl-mmengine': '0.10.12', 'mmdet': '3.3.0'},
            'onedl-mmengine 0.10.12 and onedl-mmcv 2.3.6 of one line of OpenMMLab packages and '
            'mmdet 3.3.0 of the other are installed',
            ['onedl-mmengine', 'onedl-mmcv', 'mmdet'],
            None,
        ),
        (
            {**OPENMMLAB, 'mmpretrain': '1.2.0', 'onedl-mmpretrain': '1.3.6'},
            'mmpretrain belongs to 2 installed distributions',
            ['onedl-mmpretrain', *OPENMMLAB],
            None,
        ),
    ],
    ids=['both', 'two mmcv', 'lite', 'three mmcv', 'half mixed', 'two mmpretrain'],
)
def test_a_mixture_names_the_distributions_and_what_to_uninstall(
    root_dir, tmp_path, versions, found, uninstalled, command
):
    last = refusal(root_dir, install(tmp_path, versions))
    assert last.startswith(f'ImportError: oneformer cannot be imported, since {found}'), last
    (names,) = re.findall(r'pip uninstall -y ([\w\- ]+), then', last)
    assert sorted(names.split()) == sorted(uninstalled)
    for one in BOTH:
        assert (one in last) == (command in (None, one))


@pytest.mark.parametrize(
    'versions, said',
    [
        (
            {**OPENMMLAB, 'mmcv-lite': '2.1.0'},
            'mmcv belongs to 2 installed distributions, mmcv 2.1',
        ),
        ({}, 'mmengine, mmcv, mmdet and mmseg are missing: run pip install "oneformer[onedl]"'),
    ],
    ids=['mixed', 'missing'],
)
def test_doctor_and_commands_say_so_without_a_traceback(root_dir, tmp_path, versions, said):
    install(tmp_path, versions)
    command = 'import oneformer_cli; sys.exit(oneformer_cli.main([{!r}]))'
    for name, stream in (('doctor', 'stdout'), ('train', 'stderr')):
        ended = start(root_dir, tmp_path, command.format(name), packages=())
        printed = getattr(ended, stream)
        assert ended.returncode == 1 and said in printed, ended
        assert 'Traceback' not in ended.stderr
        assert (f'mmcv-lite{"2.1.0":>19}' in printed) == (name == 'doctor' and bool(versions))


def test_the_installed_line_of_this_environment_is_whole():
    assert lines.mixture() is None and lines.lack() is None
    assert lines.installed_line() in ('onedl', 'openmmlab')
    assert all(len(owners) == 1 for owners in lines.installed_owners().values())


@pytest.mark.parametrize(
    'line, name', [('onedl', 'constraints'), ('openmmlab', 'constraints-openmmlab')]
)
def test_the_tested_versions_are_those_of_the_constraints(root_dir, line, name):
    text = (root_dir / f'requirements/{name}.txt').read_text()
    pins = dict(re.findall(r'^([\w.-]+)==([\w.]+)', text, re.MULTILINE))
    tested = tested_versions.TESTED[line]
    assert {package: pins.get(package) for package in tested} == tested


def pretend(monkeypatch, versions):
    for module in (lines, tested_versions):
        monkeypatch.setattr(module, 'installed_version', versions.get)


def test_versions_that_were_not_tested_are_told_from_those_that_were(monkeypatch):
    tested = tested_versions.TESTED['openmmlab']
    pretend(monkeypatch, {**tested, 'torch': '2.4.1+cu121'})
    assert tested_versions.differences() == []
    pretend(monkeypatch, {**tested, 'torch': '2.6.0', 'numpy': None})
    assert tested_versions.differences() == ['torch 2.6.0 (2.4.1)']
    pretend(monkeypatch, {})
    assert tested_versions.differences() == []
    assert set(tested_versions.package_versions().values()) == {'not installed'}


def test_operators_are_built_for_the_mmcv_of_the_installed_line(monkeypatch):
    pretend(monkeypatch, ONEDL)
    tools, build = tested_versions.build_commands()
    assert "'setuptools>=80' wheel ninja" in tools
    assert build.startswith('MMCV_WITH_OPS=1 FORCE_CUDA=1 ') and build.endswith(
        ' onedl-mmcv==2.3.6'
    )
    pretend(monkeypatch, {**OPENMMLAB, 'mmcv': None, 'mmcv-lite': '2.1.0'})
    tools, uninstall, build = tested_versions.build_commands()
    assert "'setuptools<81' wheel ninja" in tools
    assert uninstall.endswith('-m pip uninstall -y mmcv-lite')
    assert build.endswith(' mmcv==2.1.0') and '--no-build-isolation' in build
    assert tested_versions.package_versions()['mmcv-lite'] == '2.1.0'
    pretend(monkeypatch, OPENMMLAB)
    assert len(tested_versions.build_commands()) == 2
    assert 'mmcv-lite' not in tested_versions.package_versions()
