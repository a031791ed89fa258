"""Files and folders of checkpoints: found, read, and written whole or not at all.

The converter, backbones and prediction read files by this module.
"""

import json
import os
import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import torch
from torch import Tensor

from ..host.errors import CheckpointError
from ..host.safe_io import replacing, write_json
from ..host.unpickling import read_pickle
from .content import Checkpoint

# of one file or of several with an index; what transformers prefers comes first
_WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin')


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Load a file of safetensors, which cannot hold code."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f'{path} is broken: {error}') from error


def read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        raise CheckpointError(f'{path} is not valid JSON: {error}') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, not an object')
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
                raise CheckpointError(f'weight_map of {index} does not lead to files beside it')
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
        CheckpointError: For what is not a checkpoint, or not trusted.
        OSError: For what cannot be read.
    """
    if not path.is_dir():
        return Checkpoint.of(_read_tensors(path, trust), path)
    config, files = path / 'config.json', _weight_files(path)
    if not config.is_file() or not files:
        raise CheckpointError(
            f'{path} is not a folder of Hugging Face: it needs config.json and one of '
            f'{", ".join(_WEIGHT_FILES)}, or of their index'
        )
    tensors = {}
    for file in files:
        tensors.update(_read_tensors(file, trust))
    return Checkpoint.of(tensors, path, read_json(config))


def check_destination(source: Path, destination: Path, is_folder: bool, overwrite: bool) -> None:
    """Refuse to write over the source, over other files without leave, or over what is not ours.

    Raises:
        CheckpointError: With what to do instead.
    """
    if not destination.exists():
        return
    if source.exists() and destination.samefile(source):
        raise CheckpointError(f'{destination} is the source: give another path to write to')
    if destination.is_dir() != is_folder:
        kind = 'a folder' if destination.is_dir() else 'a file'
        raise CheckpointError(f'{destination} is {kind}: give another path to write to')
    if not is_folder:
        if not overwrite:
            raise CheckpointError(f'{destination} exists: give another path, or --overwrite')
        return
    names = sorted(path.name for path in destination.iterdir())
    patterns = ('config.json', *(f'{name.split(".")[0]}*' for name in _WEIGHT_FILES))
    others = [name for name in names if not any(fnmatch(name, p) for p in patterns)]
    if others:
        raise CheckpointError(
            f'{destination} has other files ({", ".join(others[:5])}): give a new folder'
        )
    if names and not overwrite:
        raise CheckpointError(f'{destination} has files: give a new folder, or --overwrite')


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
