"""Pickles: read without running what they contain, unless their source is trusted."""

import errno
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from .errors import CheckpointError
from .restricted_pickle import load_restricted

# pairs of an object and its name, from torch 2.6 on
TORCH_TAKES_NAMES = tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 6)
_STATISTICS = ('min', 'max', 'current', 'mean')


class _Nothing:
    """Stands in for the arguments of a training, whatever it is called with."""

    def __init__(self, *args) -> None:
        pass

    def __setstate__(self, state) -> None:
        pass


def _statistic(owner: type, name: str):
    """Stands in for ``getattr``, by which a stored curve of mmengine names its methods."""
    if owner is HistoryBuffer and name in _STATISTICS:
        return getattr(owner, name)
    raise pickle.UnpicklingError(f'getattr({owner}, {name!r}) is refused')


# what is stored beside tensors and plain values: mmengine's curves, which hold arrays, the dicts of
# a config in the metainfo of datasets, which are plain ones here, and arguments of a training
_ALLOWED = [
    HistoryBuffer,
    (dict, 'mmengine.config.config.ConfigDict'),
    (_Nothing, 'argparse.Namespace'),
    *((_statistic, f'{module}.getattr') for module in ('__builtin__', 'builtins')),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in np.typecodes['AllInteger'] + np.typecodes['AllFloat'] + '?'},
    *(
        (rebuild, f'numpy.{core}.multiarray.{rebuild.__name__}')
        for rebuild in (np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0])
        for core in ('core', '_core')
    ),
]


def plain_values(value):
    """Dicts of a config, data classes and arrays as what JSON has, at any depth."""
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain_values, value))
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _load_safely(path: Path, map_location):
    """Load tensors, plain values and ``_ALLOWED``; any exception if there is more."""
    if not TORCH_TAKES_NAMES:
        return load_restricted(path, _ALLOWED, map_location)
    with torch.serialization.safe_globals(_ALLOWED):
        return torch.load(path, map_location=map_location, weights_only=True)


def read_pickle(path: Path, trust: bool = False, map_location='cpu'):
    """Load what ``torch.save`` wrote, or a plain pickle of detectron2.

    Args:
        path: The file.
        trust: Load anything, which may run any code; else tensors, plain values and the curves of
            mmengine.
        map_location: Argument of ``torch.load``.

    Raises:
        CheckpointError: If the file holds more than that and is not trusted, or is broken.
        OSError: If it cannot be read.
    """
    checked_later = torch._utils._sparse_tensors_to_validate
    before = len(checked_later)
    try:
        if not trust:
            return _load_safely(path, map_location)
        if zipfile.is_zipfile(path):
            return torch.load(path, map_location=map_location, weights_only=False)
        with path.open('rb') as file:
            content = pickle.load(file, encoding='latin1')
        # files of torch before 1.6 are several pickles, of which the first is a number
        is_old = isinstance(content, int)
        return torch.load(path, map_location, weights_only=False) if is_old else content
    except Exception as error:  # what bytes that are not checkpoints make of an unpickler
        del checked_later[before:]  # or torch would check them, and fail, in the next file
        # a truncated archive leads to a place before the beginning of the file
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        advice = (
            ', or a pickle of more than a checkpoint has, which may run any code when it is '
            'loaded: give --trust-pickle, or trust_pickle=True in Python or a config, if you trust '
            'its source'
        )
        # of torch's page the one sentence that is about this file
        page = ' '.join(str(error).split()).split('WeightsUnpickler error: ')[-1]
        reason = page.split('. ')[0].split(' Check the documentation')[0]
        raise CheckpointError(
            f'{path} is broken{"" if trust else advice} ({type(error).__name__}: {reason})'
        ) from error
