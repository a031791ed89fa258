"""Files and folders of weights, written whole or not at all."""

import os
import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import torch
from torch import Tensor

from ..host.errors import CheckpointError
from ..host.safe_io import replacing, write_json
from .hub import WEIGHT_FILES


def check_destination(source: Path, path: Path, is_folder: bool, overwrite: bool) -> None:
    """Refuse to write over the source, over other files without leave, or over what is not ours.

    Raises:
        CheckpointError: With what to do instead.
    """
    if not path.exists():
        return
    if source.exists() and path.samefile(source):
        raise CheckpointError(f'{path} is the source: give another path to write to')
    if path.is_dir() != is_folder:
        kind = 'a folder' if path.is_dir() else 'a file'
        raise CheckpointError(f'{path} is {kind}: give another path to write to')
    if not is_folder:
        if not overwrite:
            raise CheckpointError(f'{path} exists: give another path, or --overwrite')
        return
    names = sorted(file.name for file in path.iterdir())
    patterns = ('config.json', *(f'{name.split(".")[0]}*' for name in WEIGHT_FILES))
    others = [name for name in names if not any(fnmatch(name, p) for p in patterns)]
    if others:
        raise CheckpointError(
            f'{path} has other files ({", ".join(others[:5])}): give a new folder'
        )
    if names and not overwrite:
        raise CheckpointError(f'{path} has files: give a new folder, or --overwrite')


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
