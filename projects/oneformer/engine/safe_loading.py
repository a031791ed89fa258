"""Load checkpoints of training without running what they contain.

mmengine loads any pickle that torch's safe loading refuses, and so runs code of whoever wrote the
file. Its loaders of files and URLs are replaced here, for everything that goes through them:
``load_from``, ``resume``, testing, and mmdet's ``init_detector``.
"""

import pickle
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

_STATISTICS = ('min', 'max', 'current', 'mean')


def _statistic(owner: type, name: str):
    """Stands in for ``getattr``, by which a stored curve of mmengine names its methods."""
    if owner is HistoryBuffer and name in _STATISTICS:
        return getattr(owner, name)
    raise pickle.UnpicklingError(f'getattr({owner}, {name!r}) is refused')


# what mmengine stores beside tensors and plain values: curves, which hold arrays, and the dicts of
# a config in the metainfo of data sets, which are plain ones here
_ALLOWED = [
    HistoryBuffer,
    (dict, 'mmengine.config.config.ConfigDict'),
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


def read_training_checkpoint(path: Path, trust: bool = False, map_location=None):
    """Load what mmengine saves: weights, optimizer, schedulers and curves.

    Args:
        path: Of the file.
        trust: Load anything, which may run any code.
        map_location: Of ``torch.load``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not trusted and holds more than the above, or is no file of torch.
    """
    convert = f'python tools/convert_checkpoint.py {path} OUT.pth'
    if path.is_dir() or path.suffix == '.safetensors':
        raise ValueError(f'{path} is of Hugging Face; convert it first: {convert}')
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location=map_location, weights_only=not trust)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        state = 'is broken'
        if not trust:
            state += (
                ', or a pickle of more than a checkpoint of training has, which may run any code '
                'when it is loaded: give --trust-pickle if you trust its source'
            )
        if path.suffix == '.pkl':
            state += f'. If it is of the original, convert it first: {convert}'
        # of torch's page the one sentence that is about this file
        reason = str(error).split('WeightsUnpickler error: ')[-1].split('. ')[0]
        raise ValueError(f'{path} {state} ({reason})') from error


def _download(url: str) -> Path:
    """Path of the downloaded file in torch's cache."""
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(url).path).name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path))
    return path


def register_loaders(trust: bool = False) -> None:
    """Replace mmengine's loaders of files and URLs.

    Args:
        trust: Load pickles of anything, which may run any code.
    """

    # mmengine's log prints these names from their eleventh letter on
    @CheckpointLoader.register_scheme('', force=True)
    def load_from_local(filename: str, map_location=None):
        return read_training_checkpoint(Path(filename).expanduser(), trust, map_location)

    @CheckpointLoader.register_scheme(('http://', 'https://'), force=True)
    def load_from_http(filename: str, map_location=None):
        if is_main_process():
            _download(filename)
        barrier()  # then it lies in the cache of all processes but those of another machine
        return read_training_checkpoint(_download(filename), trust, map_location)
