"""Make mmdet importable where a compiled mmcv or an older transformers is missing.

Two facts of the installed stack stop ``import mmdet.models``, neither of which OneFormer needs:

* a pure-Python mmcv has no ``mmcv._ext``, but mmdet imports every operator. A stand-in module
  replaces it, whose operators exist and raise when they are called;
* mmpretrain's BLIP model imports a function that transformers 5 removed, and mmdet only expects an
  ``ImportError`` there. mmpretrain's own switch for multimodal models turns BLIP off.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType


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
    """Keep mmpretrain's BLIP from importing what transformers 5 removed."""
    name = 'mmpretrain.utils.dependency'
    if name in sys.modules or importlib.util.find_spec('transformers') is None:
        return
    package = importlib.util.find_spec('mmpretrain')
    if package is None or int(version('transformers').split('.')[0]) < 5:  # which have it
        return
    # by file, since importing the package is what fails
    path = f'{package.submodule_search_locations[0]}/utils/dependency.py'
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.WITH_MULTIMODAL = False
    sys.modules[name] = module


provide_missing_ops()
switch_off_mmpretrain_multimodal()
