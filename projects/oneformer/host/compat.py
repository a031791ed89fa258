"""Make mmdet importable where a compiled mmcv or an older transformers is missing.

A missing or mixed installation is refused first. Then two facts of the installed stack stop
``import mmdet.models``, neither of which OneFormer needs:

* a pure-Python mmcv has no ``mmcv._ext``, but mmdet imports every operator. A stand-in module
  replaces it, whose operators exist and raise when they are called;
* mmpretrain's BLIP model imports functions that later releases of transformers moved or removed,
  and mmdet only expects an ``ImportError`` there. mmpretrain's own switch for multimodal models
  turns BLIP off.
"""

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from .lines import require_one_line

_BLIP = ('models', 'multimodal', 'blip', 'language_model.py')


class _MissingOps(ModuleType):
    """Stands in for ``mmcv._ext``: every operator exists, none can be called."""

    is_stand_in = True

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise RuntimeError(
                f'mmcv was installed without compiled operators, so mmcv._ext.{name} cannot run; '
                'oneformer doctor prints the command that installs them'
            )

        return missing


def compiled_ops_available() -> bool:
    """Whether the real ``mmcv._ext`` can be imported."""
    loaded = sys.modules.get('mmcv._ext')
    if loaded is not None:
        return not getattr(loaded, 'is_stand_in', False)
    return importlib.util.find_spec('mmcv._ext') is not None


def provide_missing_ops() -> None:
    """Put the stand-in where ``mmcv._ext`` would be, if and only if that is missing."""
    if compiled_ops_available() or 'mmcv._ext' in sys.modules:
        return
    stand_in = _MissingOps('mmcv._ext')
    stand_in.__spec__ = ModuleSpec('mmcv._ext', loader=None)
    sys.modules['mmcv._ext'] = stand_in


def switch_off_mmpretrain_multimodal() -> None:
    """Keep mmpretrain's BLIP from importing what the installed transformers lacks."""
    name = 'mmpretrain.utils.dependency'
    found = {package: PathFinder.find_spec(package) for package in ('mmpretrain', 'transformers')}
    if name in sys.modules or None in found.values():
        return
    mmpretrain, transformers = (Path(spec.submodule_search_locations[0]) for spec in found.values())
    if not any(missing_names(mmpretrain.joinpath(*_BLIP), transformers)):
        return
    # by file, since importing the package is what fails
    spec = importlib.util.spec_from_file_location(name, mmpretrain / 'utils' / 'dependency.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.WITH_MULTIMODAL = False
    sys.modules[name] = module


def missing_names(file: Path, transformers: Path) -> Iterator[str]:
    """Names that a file imports from modules of transformers that do not mention them.

    Args:
        file: Python source; nothing is missing if it does not exist.
        transformers: Folder of the package, which takes seconds to import.
    """
    source = file.read_text(encoding='utf-8') if file.is_file() else ''
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or not (node.module or '').startswith(
            'transformers.'
        ):
            continue
        path = transformers.joinpath(*node.module.split('.')[1:])
        files = [path.with_suffix('.py'), path / '__init__.py']
        text = ''.join(f.read_text(encoding='utf-8') for f in files if f.is_file())
        yield from (a.name for a in node.names if not re.search(rf'\b{a.name}\b', text))


require_one_line()
provide_missing_ops()
switch_off_mmpretrain_multimodal()
