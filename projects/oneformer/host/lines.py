"""The two lines of OpenMMLab packages: which is installed, and whether they were mixed.

The maintained forks, OneDL, and the original packages, OpenMMLab, have the same import names, so
either overwrites files of the other.
"""

import importlib.util
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

# by import name the distributions that own it
_OWNERS: dict[str, dict[str, tuple[str, ...]]] = {
    'onedl': {
        'mmengine': ('onedl-mmengine',),
        'mmcv': ('onedl-mmcv',),
        'mmdet': ('onedl-mmdetection',),
        'mmseg': ('onedl-mmsegmentation',),
        'mmpretrain': ('onedl-mmpretrain',),
    },
    'openmmlab': {
        'mmengine': ('mmengine', 'mmengine-lite'),
        'mmcv': ('mmcv', 'mmcv-lite', 'mmcv-full'),
        'mmdet': ('mmdet',),
        'mmseg': ('mmsegmentation',),
        'mmpretrain': ('mmpretrain',),
    },
}
_REQUIRED = ('mmengine', 'mmcv', 'mmdet', 'mmseg')  # mmpretrain has ConvNeXt alone
_NAMES = {'onedl': 'OneDL, the maintained forks', 'openmmlab': 'OpenMMLab, the original packages'}


class Owner(NamedTuple):
    """An installed distribution of one of the lines.

    Attributes:
        name: Name of the distribution.
        version: Its version.
        line: ``'onedl'`` or ``'openmmlab'``.
    """

    name: str
    version: str
    line: str

    def __str__(self) -> str:
        return f'{self.name} {self.version}'


def installed_version(distribution: str) -> str | None:
    """Version of a distribution, None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def installed_owners() -> dict[str, list[Owner]]:
    """By import name the installed distributions that own it."""
    owners: dict[str, list[Owner]] = {}
    for line, packages in _OWNERS.items():
        for package, names in packages.items():
            found = ((name, installed_version(name)) for name in names)
            owners.setdefault(package, []).extend(
                Owner(name, number, line) for name, number in found if number is not None
            )
    return owners


def installed_line() -> str | None:
    """``'onedl'`` or ``'openmmlab'``; None if neither is installed, or both are."""
    lines = {owner.line for owners in installed_owners().values() for owner in owners}
    return lines.pop() if len(lines) == 1 else None


def install_command(line: str | None) -> str:
    """Command that installs a line, or both commands."""
    if line is not None:
        return f'pip install "oneformer[{line}]"'
    return ' or '.join(f'{install_command(name)} ({_NAMES[name]})' for name in _OWNERS)


def line_name(line: str | None) -> str:
    """Name of a line for people."""
    return 'none' if line is None else _NAMES[line]


def mixture() -> str | None:
    """What two installed distributions overwrite, with the remedy; None if all is well."""
    owners = installed_owners()
    doubled = {package: own for package, own in owners.items() if len(own) > 1}
    everything = [owner for own in owners.values() for owner in own]
    by_line = {name: [o for o in everything if o.line == name] for name in _OWNERS}
    is_mixed = all(by_line.values())
    if not doubled and not is_mixed:
        return None
    if doubled:
        package, own = next(iter(doubled.items()))
        found = f'{package} belongs to {len(own)} installed distributions, {_listed(own)}'
        if len(doubled) > 1:
            found += f' (as do {_listed([name for name in doubled if name != package])})'
    else:
        found = f'{_listed(by_line["onedl"])} of one line of OpenMMLab packages and '
        found += f'{_listed(by_line["openmmlab"])} of the other are installed'
    wrong = everything if is_mixed else [owner for own in doubled.values() for owner in own]
    line = None if is_mixed else wrong[0].line
    return (
        f'{found}: they overwrite files of each other. Run '
        f'pip uninstall -y {" ".join(owner.name for owner in wrong)}, then {install_command(line)}'
    )


def _listed(values: Iterable) -> str:
    *most, last = map(str, values)
    return f'{", ".join(most)} and {last}' if most else last


def lack() -> str | None:
    """Which packages are missing, with the remedy; None if all can be found."""
    missing = [
        name
        for name in _REQUIRED
        if name not in sys.modules and importlib.util.find_spec(name) is None
    ]
    if not missing:
        return None
    are = 'is' if len(missing) == 1 else 'are'
    return f'{_listed(missing)} {are} missing: run {install_command(installed_line())}'


def require_one_line() -> None:
    """Refuse to go on without the OpenMMLab packages, or with a mixture of both lines.

    Raises:
        ImportError: With what is installed, and the commands that mend it.
    """
    if problem := mixture() or lack():
        raise ImportError(f'oneformer cannot be imported, since {problem}')
