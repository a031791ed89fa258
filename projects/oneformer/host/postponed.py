"""Packages that the stack imports for parts that few use come with the first use of such a part.

mmdet imports imgaug and imagecorruptions for one transform each, pyplot for drawings of tracking,
and transformers for models that read text; mmengine imports it for an optimizer; mmpretrain imports
torchvision for areas of boxes, and mmseg prettytable for a log. Together they take seconds
(``tools/benchmark.py start``).
"""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from .compat import missing_names
from .garbage import nothing_collected

_IMGAUG = (
    'imgaug',
    'imgaug.augmenters',
    'imgaug.augmentables.lines',
    'imgaug.augmentables.segmaps',
)
_PYPLOT = ('matplotlib', 'matplotlib.colors', 'matplotlib.patches', 'matplotlib.pyplot')
_FUNCTIONS = dict(imagecorruptions='corrupt', prettytable='PrettyTable')
_BOXES = ('torchvision', 'torchvision.ops', 'torchvision.ops.boxes')
# classes that mmdet calls; those that it derives from have to be there when its own are made
_OF_TRANSFORMERS = ('Adafactor', 'AutoTokenizer', 'BertConfig', 'BertModel')
_REGISTERED = ('Adafactor',)  # by mmengine, which takes classes and functions
_DERIVING = ('models', 'utils', 'vlfuse_helper.py')


class _Later:
    """Stands for an object of a module until it is called or read."""

    def __init__(self, module: str, name: str) -> None:
        self._place = module, name

    def _object(self):
        module, name = self._place
        return getattr(importlib.import_module(module), name)

    def __getattr__(self, name: str):
        return getattr(self._object(), name)

    def __call__(self, *args, **kwargs):
        return self._object()(*args, **kwargs)


class _Module(ModuleType):
    """Stands for a module while others are imported that import names from it.

    Args:
        name: Name of the module.
        names: Names that can be imported from it, all by default.
    """

    def __init__(self, name: str, names: tuple[str, ...] | None = None) -> None:
        super().__init__(name)
        self._names = names
        if '.' not in name:
            self.__spec__ = PathFinder.find_spec(name)

    def __getattr__(self, name: str):
        if sys.modules.get(self.__name__) is not self:
            return getattr(importlib.import_module(self.__name__), name)
        if isinstance(inner := sys.modules.get(f'{self.__name__}.{name}'), _Module):
            return inner
        if name.startswith('__') or (self._names is not None and name not in self._names):
            raise AttributeError(f'{self.__name__}.{name} is not there before it is needed')
        later = _Later(self.__name__, name)
        if name not in _REGISTERED:
            return later

        def build(params, **options):
            return later(params, **options)

        return build


def _folder(package: str) -> Path | None:
    """Where a package is installed."""
    spec = PathFinder.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def _stand_ins() -> list[_Module]:
    modules = [
        _Module(name) for names in (_IMGAUG, _PYPLOT, _BOXES) if _folder(names[0]) for name in names
    ]
    for name, wanted in _FUNCTIONS.items():
        if _folder(name):
            modules.append(_Module(name, (wanted,)))
    mmdet, transformers = _folder('mmdet'), _folder('transformers')
    # mmdet then does without the classes that it would derive from
    if mmdet and transformers and any(missing_names(mmdet.joinpath(*_DERIVING), transformers)):
        modules.append(_Module('transformers', _OF_TRANSFORMERS))
    return modules


@contextlib.contextmanager
def postponed_imports() -> Iterator[None]:
    """Let modules that are imported in this context import such packages when they use them.

    What is imported stays, so that the collector of garbage rests meanwhile.
    """
    imported = set(sys.modules)
    modules = {
        module.__name__: module
        for module in _stand_ins()
        if module.__name__.split('.')[0] not in imported
    }
    sys.modules.update(modules)
    try:
        with nothing_collected():
            yield
    finally:
        for name, module in modules.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
