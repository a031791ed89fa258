"""Checkpoints: read without running what they contain, and what they say of their classes.

The converter, backbones, training, testing and prediction all read files by this module.
"""

import json
import logging
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import HistoryBuffer, print_log
from torch import Tensor

from ..class_matching import match_classes
from ..metainfo import benchmark_of_size, resolve_metainfo
from ..safe_io import replacing, write_json
from .huggingface_config import classes_in, said_of_backbone
from .layout import ConversionError, key_list

# a key that every checkpoint of a library has
MARKS = {
    'plugin': 'panoptic_head.',
    'official': 'sem_seg_head.predictor.',
    'huggingface': 'model.transformer_module.',
}
_STATISTICS = ('min', 'max', 'current', 'mean')
# of one file or of several with an index; what transformers prefers comes first
_WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin')


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
# a config in the metainfo of data sets, which are plain ones here, and arguments of a training
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
    """Dicts of a config and arrays as what JSON has, at any depth."""
    if isinstance(value, Mapping):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain_values, value))
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


@dataclass
class Checkpoint:
    """Tensors by name, and what lay beside them.

    Attributes:
        tensors: The state dict, without the ``module.`` of a model in several processes.
        dataset_meta: Metainfo of the data set that it was trained on, or empty.
        said: Options of the backbone that weights do not tell.
        config: Content of Hugging Face's config.json, else empty.
    """

    tensors: dict[str, Tensor]
    dataset_meta: dict = field(default_factory=dict)
    said: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)

    @classmethod
    def of(cls, content, path: str | os.PathLike, config: Mapping | None = None) -> 'Checkpoint':
        """Unwrap the content of a file.

        Args:
            content: What was read.
            path: For messages.
            config: Content of config.json.

        Raises:
            ConversionError: If it is no dict of tensors, or what is beside them is malformed.
        """
        if not isinstance(content, Mapping):
            raise ConversionError(f'{path} holds a {type(content).__name__}, not tensors by name')
        meta = content.get('meta') or {}
        beside = {}
        for name in ('dataset_meta', 'backbone'):
            part = (meta.get(name) or {}) if isinstance(meta, Mapping) else meta
            if not isinstance(part, Mapping):
                raise ConversionError(
                    f'meta.{name} of {path} is a {type(part).__name__}, not a dict'
                )
            beside[name] = plain_values(part)
        for wrapper in ('state_dict', 'model'):
            if isinstance(content.get(wrapper), Mapping):
                content = content[wrapper]
                break
        tensors = {
            re.sub(r'^module\.', '', str(key)): torch.from_numpy(value)
            if isinstance(value, np.ndarray)
            else value
            for key, value in content.items()
        }
        others = [key for key, value in tensors.items() if not isinstance(value, Tensor)]
        if others:
            raise ConversionError(f'{path} has entries that are no tensors: {", ".join(others)}')
        check_tensors(tensors, path)
        config = dict(config or {})
        said = {**beside['backbone'], **said_of_backbone(config)}
        return cls(tensors, beside['dataset_meta'], said, config)


def check_tensors(tensors: Mapping[str, Tensor], path: str | os.PathLike) -> None:
    """Refuse tensors that cannot be weights: nan, infinite, or of a shape without data.

    Raises:
        ConversionError: With their names.
    """
    faults = {'no plain tensors': [], 'larger than their data': [], 'nan or infinite': []}
    for key, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            faults['no plain tensors'].append(key)
        elif tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            faults['larger than their data'].append(key)
        elif tensor.is_floating_point() and not tensor.isfinite().all():
            faults['nan or infinite'].append(key)
    lists = [key_list(fault, keys) for fault, keys in faults.items() if keys]
    if lists:
        raise ConversionError(
            '\n'.join([f'{path} is damaged, use another checkpoint; its tensors are', *lists])
        )


def recognise(tensors: Mapping[str, Tensor]) -> str | None:
    """Tell the library of a state dict, a key of ``MARKS``, or None if it has no OneFormer."""
    return next(
        (name for name, mark in MARKS.items() if any(key.startswith(mark) for key in tensors)),
        None,
    )


def require_ours(tensors: Mapping[str, Tensor], path: str | os.PathLike) -> None:
    """Refuse a checkpoint that is not of this plugin.

    Raises:
        ConversionError: If it is of another library, or has no OneFormer.
    """
    library = recognise(tensors)
    if library is None:
        raise ConversionError(
            f'{path} has no OneFormer: no tensor begins with {MARKS["plugin"]}, but there are '
            f'{", ".join(list(tensors)[:3])} ... If it is a backbone, train with '
            f"model.backbone.init_cfg=dict(type='PretrainedBackbone', checkpoint={str(path)!r}) "
            'and without load_from'
        )
    if library != 'plugin':
        raise ConversionError(
            f'{path} has the tensor names of another library, the {library} OneFormer; convert it '
            f'first: python tools/convert_checkpoint.py {path} OUT.pth'
        )


def classes_of(checkpoint: Checkpoint, num_classes: int, expected: Mapping | None = None) -> dict:
    """Metainfo of the classes of a checkpoint.

    Args:
        checkpoint: That may name them in ``meta.dataset_meta`` or config.json.
        num_classes: K of its class head.
        expected: Metainfo of the model that it is for. If nothing names the classes, they are taken
            to be these if there are as many, or else those of the benchmark that has as many, which
            is logged.

    Returns:
        ``classes``, and ``thing_classes`` unless nothing tells them.

    Raises:
        ConversionError: If the classes are not known, or are not as many as the head has.
    """
    benchmark = benchmark_of_size(num_classes)
    known = {'the config': expected} if expected and len(expected['classes']) == num_classes else {}
    if benchmark:
        known[benchmark] = resolve_metainfo(benchmark)
    named, where = checkpoint.dataset_meta, 'meta.dataset_meta'
    if not named.get('classes'):
        named, where = classes_in(checkpoint.config), 'config.json'
    if not named:
        if not known:
            raise ConversionError(
                f'the checkpoint does not name its {num_classes} classes'
                + (f', and the config has {len(expected["classes"])}' if expected else '')
                + ', which are no benchmark. Write them into it first: python '
                'tools/convert_checkpoint.py SRC DST --metainfo FILE, where FILE is JSON with '
                '"classes" and "thing_classes"'
            )
        whose, metainfo = next(iter(known.items()))
        print_log(
            f'the checkpoint does not name its {num_classes} classes: they are taken to be those '
            f'of {whose}',
            logger='current',
            level=logging.WARNING,
        )
        return metainfo
    if len(named['classes']) != num_classes:
        raise ConversionError(
            f'the class head of the checkpoint has {num_classes} classes, but its {where} names '
            f'{len(named["classes"])}'
        )
    if 'thing_classes' in named:
        return resolve_metainfo(named)
    same = (m for m in known.values() if match_classes(named, m) == list(range(num_classes)))
    return next(same, dict(named))


def read_pickle(path: Path, trust: bool = False, map_location='cpu'):
    """Load what ``torch.save`` wrote, or a plain pickle of detectron2.

    Args:
        path: Of the file.
        trust: Load anything, which may run any code; else tensors, plain values and the curves of
            mmengine.
        map_location: Of ``torch.load``.

    Raises:
        ConversionError: If the file holds more than that and is not trusted, or is broken.
        OSError: If it cannot be read.
    """
    try:
        if not trust:
            with torch.serialization.safe_globals(_ALLOWED):
                return torch.load(path, map_location=map_location, weights_only=True)
        if zipfile.is_zipfile(path):
            return torch.load(path, map_location=map_location, weights_only=False)
        with path.open('rb') as file:
            content = pickle.load(file, encoding='latin1')
        # files of torch before 1.6 are several pickles, of which the first is a number
        is_old = isinstance(content, int)
        return torch.load(path, map_location, weights_only=False) if is_old else content
    except OSError:
        raise
    except Exception as error:  # what bytes that are no checkpoint make of an unpickler
        advice = (
            ', or a pickle of more than a checkpoint has, which may run any code when it is '
            'loaded: give --trust-pickle, or trust_pickle=True in a config, if you trust its source'
        )
        # of torch's page the one sentence that is about this file
        reason = str(error).split('WeightsUnpickler error: ')[-1].split('. ')[0]
        raise ConversionError(
            f'{path} is broken{"" if trust else advice} ({type(error).__name__}: {reason})'
        ) from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Load a file of safetensors, which cannot hold code."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ConversionError(f'{path} is broken: {error}') from error


def read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        raise ConversionError(f'{path} is no JSON: {error}') from error
    if not isinstance(content, dict):
        raise ConversionError(f'{path} holds a {type(content).__name__}, not an object')
    return content


def _weight_files(folder: Path) -> list[Path]:
    """Files of the weights in a folder of Hugging Face, none if it is no such folder."""
    for name in _WEIGHT_FILES:
        index = folder / f'{name}.index.json'
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            parts = read_json(index).get('weight_map')
            names = set(parts.values()) if isinstance(parts, dict) else {None}
            if not all(isinstance(name, str) and Path(name).name == name for name in names):
                raise ConversionError(f'weight_map of {index} does not lead to files beside it')
            return [folder / name for name in sorted(names)]
    return []


def _read_tensors(path: Path, trust: bool):
    return read_safetensors(path) if path.suffix == '.safetensors' else read_pickle(path, trust)


def read_checkpoint(path: Path, trust: bool = False) -> Checkpoint:
    """Read a file, or a folder of Hugging Face.

    Args:
        path: Of either.
        trust: See ``read_pickle``.

    Raises:
        ConversionError: For what is no checkpoint, or not trusted.
        OSError: For what cannot be read.
    """
    if not path.is_dir():
        return Checkpoint.of(_read_tensors(path, trust), path)
    config, files = path / 'config.json', _weight_files(path)
    if not config.is_file() or not files:
        raise ConversionError(
            f'{path} is no folder of Hugging Face: it needs config.json and one of '
            f'{", ".join(_WEIGHT_FILES)}, or of their index'
        )
    tensors = {}
    for file in files:
        tensors.update(_read_tensors(file, trust))
    return Checkpoint.of(tensors, path, read_json(config))


def local_file(source: str) -> Path:
    """Path of a file or folder; a URL is downloaded once, to where torch.hub keeps its files."""
    if not source.startswith(('http://', 'https://')):
        return Path(source).expanduser()
    url = urlparse(source)
    name = Path(url.path).name
    if any(fnmatch(name, pattern) for pattern in ('model*.safetensors', 'pytorch_model*.bin')):
        # which all models on Hugging Face's hub are called
        name = f'{url.netloc}{url.path}'.replace('/', '_')
    path = Path(torch.hub.get_dir()) / 'checkpoints' / name
    try:
        if is_main_process() and not path.exists():
            _download(source, path)
    finally:
        barrier()  # also if it fails, or the others would wait for ever
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


def check_destination(source: Path, destination: Path, is_folder: bool, overwrite: bool) -> None:
    """Refuse to write over the source, over other files without leave, or over what is not ours.

    Raises:
        ConversionError: With what to do instead.
    """
    if not destination.exists():
        return
    if source.exists() and destination.samefile(source):
        raise ConversionError(f'{destination} is the source: give another path to write to')
    if destination.is_dir() != is_folder:
        kind = 'a folder' if destination.is_dir() else 'a file'
        raise ConversionError(f'{destination} is {kind}: give another path to write to')
    if not is_folder:
        if not overwrite:
            raise ConversionError(f'{destination} exists: give another path, or --overwrite')
        return
    names = sorted(path.name for path in destination.iterdir())
    patterns = ('config.json', *(f'{name.split(".")[0]}*' for name in _WEIGHT_FILES))
    others = [name for name in names if not any(fnmatch(name, p) for p in patterns)]
    if others:
        raise ConversionError(
            f'{destination} has other files ({", ".join(others[:5])}): give a new folder'
        )
    if names and not overwrite:
        raise ConversionError(f'{destination} has files: give a new folder, or --overwrite')


def write_torch(path: Path, content: Mapping) -> None:
    """Write a file that ``torch.load`` reads with ``weights_only=True``."""
    with replacing(path) as temporary:
        torch.save(content, temporary)


def write_folder(folder: Path, tensors: Mapping[str, Tensor], config: dict) -> None:
    """Write a folder that transformers reads, in place of what is there, whole or not at all."""
    from safetensors.torch import save_file

    temporary, old = (
        folder.with_name(f'.{folder.resolve().name}.{os.getpid()}.{end}') for end in ('tmp', 'old')
    )
    temporary.mkdir(parents=True)
    try:
        save_file(dict(tensors), temporary / 'model.safetensors', metadata=dict(format='pt'))
        write_json(temporary / 'config.json', config)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for path in (temporary, old):
            shutil.rmtree(path, ignore_errors=True)
