"""Checkpoint files: read without running what they contain, written so that none is half there."""

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from torch import Tensor

from ..safe_io import replacing, write_json
from .layout import ConversionError


class _Nothing:
    """Stands in for what a checkpoint has beside its weights, whatever it is called with."""

    def __init__(self, *args) -> None:
        pass

    def __setstate__(self, state) -> None:
        pass


# mmengine stores curves of the losses, with bound functions, others the arguments of the training:
# their names do nothing here
_STAND_INS = [
    (_Nothing, name)
    for name in (
        'mmengine.logging.history_buffer.HistoryBuffer',
        'argparse.Namespace',
        '__builtin__.getattr',
        'builtins.getattr',
        'numpy.dtype',
        'numpy.ndarray',
        'numpy.core.multiarray._reconstruct',
        'numpy._core.multiarray._reconstruct',
        'numpy.core.multiarray.scalar',
        'numpy._core.multiarray.scalar',
    )
]

_WEIGHT_FILES = ('model*.safetensors', 'pytorch_model*.bin')


@dataclass
class Checkpoint:
    """Tensors by name, and what lay beside them.

    Attributes:
        tensors: The state dict.
        meta: Of a checkpoint of mmengine, else empty.
        config: Content of Hugging Face's config.json, else empty.
    """

    tensors: dict[str, Tensor]
    meta: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)


def read_pickle(path: Path, trust: bool):
    """Load what ``torch.save`` wrote, or a plain pickle of detectron2.

    Args:
        path: Of the file.
        trust: Load anything, which may run any code; else tensors and plain values, and nothing
            in place of mmengine's curves and of a training's arguments.

    Raises:
        ConversionError: If the file holds more than that and is not trusted, or is broken.
    """
    try:
        if not trust:
            with torch.serialization.safe_globals(_STAND_INS):
                return torch.load(path, map_location='cpu', weights_only=True)
        if zipfile.is_zipfile(path):
            return torch.load(path, map_location='cpu', weights_only=False)
        with path.open('rb') as file:
            content = pickle.load(file, encoding='latin1')
        # files of torch before 1.6 are several pickles, of which the first is a number
        is_old = isinstance(content, int)
        return torch.load(path, map_location='cpu', weights_only=False) if is_old else content
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        advice = (
            ', or a pickle of more than tensors, which may run any code when it is loaded: give '
            '--trust-pickle, or trust_pickle=True in a config, if you trust its source'
        )
        raise ConversionError(f'{path} is broken{"" if trust else advice} ({error})') from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Load a file of safetensors, which cannot hold code."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ConversionError(f'{path} is broken: {error}') from error


def read_folder(folder: Path, trust: bool) -> Checkpoint:
    """Read a folder of Hugging Face, of one or more files of weights."""
    config = folder / 'config.json'
    found = (sorted(folder.glob(pattern)) for pattern in _WEIGHT_FILES)
    files = next((paths for paths in found if paths), None)
    if not config.is_file() or not files:
        raise ConversionError(
            f'{folder} is no folder of Hugging Face: it needs config.json and one of '
            f'{", ".join(_WEIGHT_FILES)}'
        )
    tensors = {}
    for path in files:
        is_safe = path.suffix == '.safetensors'
        tensors.update(read_safetensors(path) if is_safe else read_pickle(path, trust))
    return Checkpoint(tensors, config=json.loads(config.read_text()))


def read_checkpoint(path: Path, trust: bool = False) -> Checkpoint:
    """Read a file, or a folder of Hugging Face.

    Args:
        path: Of either.
        trust: See ``read_pickle``.

    Raises:
        ConversionError: For what is no checkpoint, or not trusted.
        OSError: For what cannot be read.
    """
    if path.is_dir():
        return read_folder(path, trust)
    content = read_safetensors(path) if path.suffix == '.safetensors' else read_pickle(path, trust)
    if not isinstance(content, Mapping):
        raise ConversionError(f'{path} holds a {type(content).__name__}, not tensors by name')
    meta = content.get('meta', {})
    for wrapper in ('state_dict', 'model'):
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    tensors = {
        key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in content.items()
    }
    others = [str(key) for key, value in tensors.items() if not isinstance(value, Tensor)]
    if others:
        raise ConversionError(
            f'{path} has entries that are no tensors (arrays need --trust-pickle): '
            f'{", ".join(others)}'
        )
    return Checkpoint(tensors, meta)


def local_file(source: str) -> Path:
    """Path of a file or folder; a URL is downloaded once, to where torch.hub keeps its files."""
    if not source.startswith(('http://', 'https://')):
        return Path(source)
    url = urlparse(source)
    name = Path(url.path).name
    if any(fnmatch(name, pattern) for pattern in _WEIGHT_FILES):
        # which all models on Hugging Face's hub are called
        name = f'{url.netloc}{url.path}'.replace('/', '_')
    path = Path(torch.hub.get_dir()) / 'checkpoints' / name
    if not path.exists() and is_main_process():
        _download(source, path)
    barrier()
    if not path.exists():  # on another machine of the same run
        _download(source, path)
    return path


def _download(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), progress=is_main_process())
    except OSError as error:
        raise OSError(
            f'{url} cannot be downloaded ({error}); put the file at {path}, or give its own path'
        ) from error


def write_torch(path: Path, content: Mapping) -> None:
    """Write a file that ``torch.load`` reads with ``weights_only=True``."""
    with replacing(path) as temporary:
        torch.save(content, temporary)


def write_folder(folder: Path, tensors: Mapping[str, Tensor], config: dict) -> None:
    """Write a folder that transformers reads, the config last."""
    from safetensors.torch import save_file

    with replacing(folder / 'model.safetensors') as temporary:
        save_file(dict(tensors), temporary, metadata=dict(format='pt'))
    write_json(folder / 'config.json', config)
