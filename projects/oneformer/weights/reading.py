"""``read``: weights from anybody's file or folder, under our names, and what is known of them."""

import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..checkpoint_names import EARLIER, MARKS
from ..host.errors import CheckpointError, key_list
from ..host.unpickling import plain_values, read_pickle
from .backbone_names import find_backbone, layout_of
from .hub import WEIGHT_FILES
from .huggingface_config import backbone_options_in
from .names import LAYOUTS
from .rules import Rule, foreign_names
from .sources import Source, delete_hint, local_path

PREFIX = 'backbone.'


@dataclass
class Weights:
    """Tensors under our names, and what lay beside them.

    Attributes:
        tensors: The state dict; of a backbone alone its names begin with ``backbone.``, too.
        path: The file or folder, for messages.
        layout: Whose names it has: a key of ``MARKS``, or of a backbone alone who made it.
        is_backbone: Whether it is a backbone, and not a whole OneFormer.
        dataset_meta: Metainfo of the dataset that it was trained on, or empty.
        backbone_options: Options of the backbone that weights do not tell.
        frozen: ``source`` and ``sha256`` of weights of the backbone that are not in the file, see
            ``frozen``; else empty.
        config: Content of Hugging Face's config.json, else empty.
        config_text: The config of its training as mmengine writes it, as text, None if there is
            none. It may have been written to do harm: see ``embedded_config``.
        unused: Lines about tensors of the file that nothing depends on, or that are rebuilt.
        unknown: Names in the file that no rule knows.
        broken: Lines about tensors that cannot be stacked, since one lacks or the shapes differ.
        keys: All names in the file.
        rules: Rules by which they were translated, none for our own names.
        base: What was added to a difference, see ``differences``.
        averaged: Whether they are averages of a training (EMA); raw weights lie beside them.
    """

    tensors: dict[str, Tensor]
    path: str
    layout: str = 'plugin'
    is_backbone: bool = False
    dataset_meta: dict = field(default_factory=dict)
    backbone_options: dict = field(default_factory=dict)
    frozen: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    config_text: str | None = None
    unused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    keys: frozenset[str] = frozenset()
    rules: list[Rule] = field(default_factory=list)
    base: str | None = None
    averaged: bool = False

    @classmethod
    def of(
        cls,
        content,
        path: str | os.PathLike,
        config: Mapping | None = None,
        finite: bool = True,
    ) -> 'Weights':
        """Translate the content of a file.

        Args:
            content: What was read.
            path: Path of the file, for messages.
            config: Content of config.json.
            finite: Whether nan and infinite values are refused.

        Raises:
            CheckpointError: If it is not a dict of tensors, if what is beside them is malformed, or
                if neither a OneFormer nor a backbone is in it.
        """
        state_dict = state_dict_in(content, path)
        meta = content.get('meta') or {}
        beside = {}
        for name in ('dataset_meta', 'backbone', 'frozen_backbone'):
            part = (meta.get(name) or {}) if isinstance(meta, Mapping) else meta
            if not isinstance(part, Mapping):
                raise CheckpointError(
                    f'meta.{name} of {path} is a {type(part).__name__}, not a dict'
                )
            beside[name] = plain_values(part)
        config = dict(config or {})
        translated = _translated(_tensors_in(state_dict, path, finite), path)
        return cls(
            **translated,
            path=str(path),
            averaged=translated.get('layout', 'plugin') == 'plugin' and 'ema_state_dict' in content,
            dataset_meta=beside['dataset_meta'],
            backbone_options={**beside['backbone'], **backbone_options_in(config)},
            frozen=beside['frozen_backbone'],
            config=config,
            config_text=meta.get('cfg'),
        )

    @classmethod
    def foreign(cls, content, path: str | os.PathLike, config: Mapping | None = None) -> 'Weights':
        """The same of a OneFormer of ours; of anything else the tensors by the file's names."""
        tensors = _tensors_in(state_dict_in(content, path), path)
        if recognise(tensors) == 'plugin':
            return cls.of(content, path, config)
        return cls(
            tensors,
            str(path),
            layout="its library's names",
            is_backbone=True,
            config=dict(config or {}),
        )

    @classmethod
    def of_oneformer(cls, content, path: str | os.PathLike, config: Mapping) -> 'Weights | None':
        """The same as ``of``; None for a file of another model, of which the values are checked."""
        found = state_dict_in(content, path)
        if config or recognise([str(key).removeprefix('module.') for key in found]):
            return cls.of(content, path, config)
        check_tensors({k: v for k, v in found.items() if isinstance(v, Tensor)}, path)
        return None

    def source_names(self, key: str) -> list[str]:
        """Names in the file of what makes up one of our tensors."""
        return foreign_names(self.rules, key, self.keys) or [key]


def read(source: Source, trust: bool = False, finite: bool = True) -> Weights:
    """Read weights of training or inference, the original's, Hugging Face's, or of a backbone.

    Args:
        source: File or folder, URL, id on the Hugging Face hub, or name in the zoo, see
            ``local_path``.
        trust: Load pickles of more than tensors, which may run any code, see ``read_pickle``.
        finite: Whether nan and infinite values are refused; only the search for their cause wants
            them.

    Raises:
        CheckpointError: If there is none, it is broken, or it is not trusted.
        OSError: If it cannot be read.
    """
    return read_with_content(source, trust, 'cpu', partial(Weights.of, finite=finite))[0]


Translated = TypeVar('Translated', Weights, Weights | None)


def read_with_content(
    source: Source,
    trust: bool,
    map_location: Any,
    translate: Callable[[Any, Path, dict], Translated],
) -> tuple[Translated, Any]:
    """What ``read`` returns, and all that the file holds, of which training needs more.

    Args:
        source: See ``read``.
        trust: See ``read``.
        map_location: Argument of ``torch.load``.
        translate: Function of content, path and config.json, such as ``Weights.of``, whose result
            is returned.
    """
    path = local_path(source)
    if not path.exists():
        raise CheckpointError(f'weights {source} do not exist')
    try:
        content, config = _content(path, trust, map_location)
        return translate(content, path, config), content
    except CheckpointError as error:
        if hint := delete_hint(source, path):
            raise CheckpointError(f'{error}{hint}') from error
        raise


def _content(path: Path, trust: bool, map_location) -> tuple[Any, dict]:
    """Content of a file or of all files in a folder, and that of config.json."""
    if not path.is_dir():
        return _read_file(path, trust, map_location), {}
    config, files = path / 'config.json', _weight_files(path)
    if not config.is_file() or not files:
        raise CheckpointError(
            f'weights {path} are a folder: give the file of a checkpoint, or a folder of Hugging '
            f'Face, with config.json and one of {", ".join(WEIGHT_FILES)}, or of their index'
        )
    tensors = {}
    for file in files:
        tensors.update(_read_file(file, trust, map_location))
    return tensors, read_json(config)


def _weight_files(folder: Path) -> list[Path]:
    """Files of the weights in a folder of Hugging Face, none if it is another folder."""
    for name in WEIGHT_FILES:
        index = folder / f'{name}.index.json'
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            parts = read_json(index).get('weight_map')
            names = set(parts.values()) if isinstance(parts, dict) else set()
            plain = [n for n in names if isinstance(n, str) and Path(n).name == n]
            if not plain or len(plain) < len(names):
                raise CheckpointError(f'weight_map of {index} does not lead to files beside it')
            if lost := sorted(name for name in plain if not (folder / name).is_file()):
                raise CheckpointError(f'{index} leads to files that do not exist: {lost}')
            return [folder / name for name in sorted(plain)]
    return []


def _read_file(path: Path, trust: bool, map_location):
    """Content of one file; safetensors cannot hold code."""
    if path.suffix != '.safetensors':
        return read_pickle(path, trust, map_location)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f'{path} is broken: {error}') from error


def read_json(path: Path) -> dict:
    """Content of a JSON file that holds an object; CheckpointError for another one."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        raise CheckpointError(f'{path} is not valid JSON: {error}') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path} holds a {type(content).__name__}, not an object')
    return content


def state_dict_in(content: object, path: str | os.PathLike) -> Mapping:
    """The dict of tensors in the content of a file; CheckpointError if there is none."""
    if isinstance(content, Mapping):
        # DINOv2's training keeps the average that it publishes under "teacher"
        wrapped = (content.get(wrapper) for wrapper in ('state_dict', 'model', 'teacher'))
        return next((part for part in wrapped if isinstance(part, Mapping)), content)
    raise CheckpointError(f'{path} holds a {type(content).__name__}, not tensors by name')


def _tensors_in(
    content: Mapping, path: str | os.PathLike, finite: bool = True
) -> dict[str, Tensor]:
    """Tensors of a file by its names, without what a wrapper puts before those of a OneFormer."""
    tensors = {
        str(key).removeprefix('module.'): torch.from_numpy(value)
        if isinstance(value, np.ndarray)
        else value
        for key, value in content.items()
    }
    others = [key for key, value in tensors.items() if not isinstance(value, Tensor)]
    if others:
        raise CheckpointError(f'{path} has entries that are not tensors: {", ".join(others)}')
    check_tensors(tensors, path, finite)
    for mark in MARKS.values():
        before = {key.partition(f'.{mark}')[0] for key in tensors if f'.{mark}' in key}
        if len(before) == 1 and all(key.startswith(f'{min(before)}.') for key in tensors):
            return {key.removeprefix(f'{min(before)}.'): value for key, value in tensors.items()}
    return tensors


def check_tensors(
    tensors: Mapping[str, Tensor], path: str | os.PathLike, finite: bool = True
) -> None:
    """Refuse tensors that cannot be weights: nan, infinite, or of a shape without data.

    Args:
        tensors: Tensors by the names of the file.
        path: Path of the file, for messages.
        finite: Whether nan and infinite are refused.

    Raises:
        CheckpointError: With their names.
    """
    faults: dict[str, list[str]] = {
        'no plain tensors': [],
        'larger than their data': [],
        'nan or infinite': [],
    }
    for key, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            faults['no plain tensors'].append(key)
        elif tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            faults['larger than their data'].append(key)
        elif finite and tensor.is_floating_point() and not tensor.isfinite().all():
            faults['nan or infinite'].append(key)
    lists = [key_list(fault, keys) for fault, keys in faults.items() if keys]
    if lists:
        raise CheckpointError(
            '\n'.join([f'{path} is damaged, use another checkpoint; its tensors are', *lists])
        )


def recognise(names: Collection[str]) -> str | None:
    """Layout of a state dict by its names, a key of ``MARKS``; None if it is of no OneFormer."""
    return next(
        (name for name, mark in MARKS.items() if any(key.startswith(mark) for key in names)), None
    )


def current_name(key: str) -> str:
    """Name that one of our tensors has today, of any of our checkpoints."""
    for earlier, name in EARLIER.items():
        key = key.replace(earlier, name)
    return key


def _translated(tensors: dict[str, Tensor], path: str | os.PathLike) -> dict:
    """What ``Weights`` says of tensors by the names of a file."""
    layout = recognise(tensors)
    if layout is None:
        return _translated_backbone(tensors, path)
    if layout == 'plugin':
        return dict(tensors={current_name(key): value for key, value in tensors.items()})
    translation = LAYOUTS[layout].to_ours(tensors)
    rules = LAYOUTS[layout].rules_for(tensors)
    return dict(vars(translation), layout=layout, keys=frozenset(tensors), rules=rules)


def _translated_backbone(tensors: dict[str, Tensor], path: str | os.PathLike) -> dict:
    """The same, of a backbone alone or in a model that is not a OneFormer."""
    backbone, prefix = find_backbone(tensors, path)
    inside = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    outside = [key for key in tensors if not key.startswith(prefix)]
    translation = layout_of(backbone).to_ours(inside, backbone)
    return dict(
        tensors=translation.tensors,
        layout=backbone.name,
        is_backbone=True,
        unused=[prefix + key for key in translation.unused] + numbers_of(outside),
        unknown=[prefix + key for key in translation.unknown],
        broken=translation.broken,
        keys=frozenset(inside),
        rules=list(backbone.rules),
    )


def numbers_of(keys: list[str]) -> list[str]:
    """Lines that count names by their first part."""
    parts = [key.split('.')[0] for key in keys]
    return [f'{part}.* ({parts.count(part)} tensors)' for part in dict.fromkeys(parts)]
