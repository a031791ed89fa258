"""The versions that the tests run with, and the commands that build mmcv's operators for them."""

import shlex
import sys

from .lines import installed_line, installed_owners, installed_version

# those of requirements/constraints.txt and requirements/constraints-openmmlab.txt
TESTED = {
    'onedl': {
        'torch': '2.10.0',
        'torchvision': '0.25.0',
        'numpy': '2.2.6',
        'onedl-mmengine': '0.10.12',
        'onedl-mmcv': '2.3.6',
        'onedl-mmdetection': '3.5.1',
        'onedl-mmsegmentation': '1.4.2',
        'onedl-mmpretrain': '1.3.6',
        'pycocotools': '2.0.11',
        'transformers': '5.18.0',
    },
    'openmmlab': {
        'torch': '2.4.1',
        'torchvision': '0.19.1',
        'numpy': '1.26.4',
        'mmengine': '0.10.7',
        'mmcv-lite': '2.1.0',
        'mmdet': '3.3.0',
        'mmsegmentation': '1.2.2',
        'mmpretrain': '1.2.0',
        'pycocotools': '2.0.11',
        'transformers': '4.57.6',
    },
}


def package_versions() -> dict[str, str]:
    """Versions of what matters to the installed line, and of all owners; or ``not installed``."""
    tested = TESTED[installed_line() or 'onedl']
    owners = [owner.name for own in installed_owners().values() for owner in own]
    versions = {name: installed_version(name) for name in [*tested, *owners]}
    if 'mmcv' in owners:  # the same with operators
        versions = {k: v for k, v in versions.items() if v or k != 'mmcv-lite'}
    return {name: number or 'not installed' for name, number in versions.items()}


def differences() -> list[str]:
    """Installed versions of which others were tested, as ``torch 2.9.1 (2.10.0)``."""
    tested = TESTED.get(installed_line() or '', {})
    found = {name: installed_version(name) for name in tested}
    return [
        f'{name} {number} ({tested[name]})'
        for name, number in found.items()
        # +cpu and the like tell how it was built
        if number is not None and number.split('+')[0] != tested[name]
    ]


def build_commands() -> list[str]:
    """Commands that compile the operators of the installed line's mmcv for the installed torch."""
    line = installed_line() or 'onedl'
    name, usual = ('onedl-mmcv', 'onedl-mmcv') if line == 'onedl' else ('mmcv', 'mmcv-lite')
    number = installed_version(name) or installed_version(usual) or TESTED[line][usual]
    pip = [sys.executable, '-m', 'pip']
    # mmcv of OpenMMLab asks setuptools for what 81 and later lack
    tools = ['setuptools>=80' if line == 'onedl' else 'setuptools<81', 'wheel', 'ninja']
    # --no-cache-dir, or pip takes the pure-Python wheel that it built before
    rebuild = ['--no-build-isolation', '--no-cache-dir', '--force-reinstall', '--no-deps']
    commands = [
        shlex.join([*pip, 'install', *tools]),
        'MMCV_WITH_OPS=1 FORCE_CUDA=1 '
        + shlex.join([*pip, 'install', *rebuild, f'{name}=={number}']),
    ]
    if installed_version('mmcv-lite') is not None:  # whose files are those of mmcv
        commands.insert(1, shlex.join([*pip, 'uninstall', '-y', 'mmcv-lite']))
    return commands
