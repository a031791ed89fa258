"""Torch's safe loading by names of our own, for versions of torch that cannot be told names.

``torch.load(weights_only=True)`` takes pairs of an object and its name from torch 2.6 on. Before
it, two formats passed that run code: archives of TorchScript, and tars (CVE-2025-32434). What is
here refuses what torch 2.6 and later refuse.
"""

import pickle
import tarfile
from _codecs import encode
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import _Unpickler
from types import SimpleNamespace

import torch
from torch import Tensor, _weights_only_unpickler
from torch.nn import Parameter

_BLOCKED_MODULES = ('sys', 'os', 'posix', 'nt')
_NEWER_NAMES = {  # than the list of torch 2.4
    '_codecs.encode': encode,
    'builtins.bytearray': bytearray,
    'builtins.complex': complex,
    'builtins.set': set,
}
# the instructions that make plain values, or move them; all others are below, or refused
_PLAIN = (
    *('NONE', 'NEWTRUE', 'NEWFALSE', 'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'),
    *('BINUNICODE', 'SHORT_BINSTRING', 'EMPTY_DICT', 'EMPTY_LIST', 'EMPTY_SET', 'EMPTY_TUPLE'),
    *('TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3', 'MARK', 'PROTO', 'STOP'),
    *('BINGET', 'LONG_BINGET', 'BINPUT', 'LONG_BINPUT'),
)


class _Instructions(dict):
    """What each instruction of a pickle does; one that is not here is refused."""

    def __missing__(self, code: int):
        raise pickle.UnpicklingError(f'Unsupported operand {code}')


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise pickle.UnpicklingError(f'{what} is refused')


class RestrictedUnpickler(_Unpickler):
    """Reads what ``torch.save`` writes by default: protocol 2, with known names alone.

    An object is created, called or given a state only if it is one of ``known`` itself, or an
    instance of one.

    Attributes:
        known: Objects by the only names that a pickle may use for them.
    """

    known: Mapping[str, object] = {}

    def _is_known(self, value: object) -> bool:
        return any(value is one for one in self.known.values())

    def find_class(self, module: str, name: str) -> object:
        """The object of a name; UnpicklingError if it is not known. Nothing is imported."""
        renamed = IMPORT_MAPPING.get(module, module), name  # since Python 2
        module, name = NAME_MAPPING.get((module, name), renamed)
        path = f'{module}.{name}'
        if path not in self.known:
            raise pickle.UnpicklingError(f'Unsupported global: GLOBAL {path}')
        return self.known[path]

    def load_binpersid(self) -> None:
        place = self.stack.pop()
        kinds = ('storage', b'storage')
        is_storage = type(place) is tuple and len(place) > 0 and place[0] in kinds
        _require(is_storage or type(place) is int, 'a persistent id of something else than storage')
        self.append(self.persistent_load(place))

    def load_newobj(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        _require(isinstance(kind, type) and self._is_known(kind), f'an object of {kind}')
        made = Parameter(*arguments) if kind is Parameter else kind.__new__(kind, *arguments)
        self.append(made)

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        _require(self._is_known(function), f'a call of {function}')
        self.stack[-1] = function(*arguments)

    def load_build(self) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        kind = type(built)
        if kind is Tensor:  # of torch before 0.4
            built.set_(*state)
        elif kind is OrderedDict:
            built.__dict__.update(state)
        else:
            _require(self._is_known(kind), f'a state of {kind}')
            if hasattr(built, '__setstate__'):
                built.__setstate__(state)
            else:
                self._set_attributes(built, state)

    def _set_attributes(self, built: object, state: object) -> None:
        slots = None
        if isinstance(state, tuple) and len(state) == 2:
            state, slots = state
        built.__dict__.update(state or {})
        for name, value in (slots or {}).items():
            setattr(built, name, value)

    def load_append(self) -> None:
        self._extend([self.stack.pop()])

    def load_appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, values: list) -> None:
        _require(type(self.stack[-1]) is list, f'appending to {type(self.stack[-1])}')
        self.stack[-1].extend(values)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _set_items(self, values: list) -> None:
        target = self.stack[-1]
        _require(type(target) in (dict, OrderedDict, Counter), f'setting items of {type(target)}')
        for key, value in zip(values[::2], values[1::2]):
            target[key] = value

    dispatch = _Instructions(
        {
            **{getattr(pickle, n)[0]: _Unpickler.dispatch[getattr(pickle, n)[0]] for n in _PLAIN},
            pickle.APPEND[0]: load_append,
            pickle.APPENDS[0]: load_appends,
            pickle.BINPERSID[0]: load_binpersid,
            pickle.BUILD[0]: load_build,
            pickle.GLOBAL[0]: _Unpickler.load_global,
            pickle.NEWOBJ[0]: load_newobj,
            pickle.REDUCE[0]: load_reduce,
            pickle.SETITEM[0]: load_setitem,
            pickle.SETITEMS[0]: load_setitems,
        }
    )


def _known_names(allowed: Iterable[object | tuple[object, str]]) -> dict[str, object]:
    """What torch's safe loading knows, what its user has added, and ``allowed``, by name."""
    known = {
        **_NEWER_NAMES,
        **_weights_only_unpickler._get_allowed_globals(),
        **_weights_only_unpickler._get_user_allowed_globals(),
    }
    known = {
        name: value
        for name, value in known.items()
        # sparse tensors of old torch are made without a check of their indices
        if not name.startswith('torch.sparse.') and name.split('.')[0] not in _BLOCKED_MODULES
    }
    for entry in allowed:
        is_named = isinstance(entry, tuple)
        value, name = entry if is_named else (entry, f'{entry.__module__}.{entry.__qualname__}')
        known[name] = value
    return known


def _refuse_other_formats(file) -> None:
    """Refuse what ``torch.load`` would hand on to loaders that run code."""
    if file.read(4) == b'PK\x03\x04':
        file.seek(0)
        # as torch recognises it, with its own reader of archives
        records = torch._C.PyTorchFileReader(file).get_all_records()
        _require('constants.pkl' not in records, 'an archive of TorchScript')
    else:
        file.seek(0)
        try:
            tarfile.open(fileobj=file, mode='r:').close()  # noqa: SIM115
        except tarfile.TarError:
            pass
        else:
            _require(False, 'a tar of torch before 0.1.10')
    file.seek(0)


def load_restricted(path: Path, allowed: Iterable[object | tuple[object, str]], map_location):
    """``torch.load(path, map_location, weights_only=True)`` with ``safe_globals(allowed)``.

    Args:
        path: The file.
        allowed: What may be in it beside what torch allows: objects, or pairs of one and its name.
        map_location: Argument of ``torch.load``.

    Raises:
        Exception: Of any kind, if the file holds anything else.
    """
    unpickler = type('Unpickler', (RestrictedUnpickler,), dict(known=_known_names(allowed)))
    module = SimpleNamespace(
        __name__='restricted_pickle',
        Unpickler=unpickler,
        UnpicklingError=pickle.UnpicklingError,
        load=lambda file, **options: unpickler(file, **options).load(),
    )
    with path.open('rb') as file:  # opened once, so that what was looked at is what is loaded
        _refuse_other_formats(file)
        return torch.load(file, map_location, pickle_module=module, weights_only=False)
