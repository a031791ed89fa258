"""What a checkpoint is: tensors that can be weights, of which library, and of which classes."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor

from ..class_matching import match_classes
from ..host.errors import CheckpointError, key_list
from ..host.plain_values import plain_values
from ..metainfo import known_dataset_of_size, resolve_metainfo

# a key that every checkpoint of a library has
MARKS = {
    'plugin': 'panoptic_head.',
    'official': 'sem_seg_head.predictor.',
    'huggingface': 'model.transformer_module.',
}
# of a DiNAT whose config.json leaves them out
_DILATIONS = [[1, 8, 1], [1, 4, 1, 4], [1, 2, 1, 2, 1, 2], [1, 1, 1, 1, 1]]


def backbone_options_in(config: Mapping) -> dict:
    """What config.json says of the backbone and shapes do not tell."""
    backbone = config.get('backbone_config') or config
    is_dinat = backbone.get('model_type') == 'dinat'
    return dict(dilations=backbone.get('dilations') or _DILATIONS) if is_dinat else {}


def classes_in(config: Mapping) -> dict:
    """Metainfo of config.json: the names of ``id2label``, and what else we wrote; empty if unnamed.

    Raises:
        CheckpointError: If the labels are not numbers from 0 on.
    """
    names = config.get('id2label') or {}
    if all(re.fullmatch(r'LABEL_\d+', str(name)) for name in names.values()):
        return {}
    labels = [str(label) for label in range(len(names))]
    if set(labels) != set(names):
        raise CheckpointError(f'id2label of config.json does not name the labels 0 to {labels[-1]}')
    return {**(config.get('metainfo') or {}), 'classes': [names[label] for label in labels]}


@dataclass
class Checkpoint:
    """Tensors by name, and what lay beside them.

    Attributes:
        tensors: The state dict, without the ``module.`` of a model in several processes.
        dataset_meta: Metainfo of the dataset that it was trained on, or empty.
        backbone_options: Options of the backbone that weights do not tell.
        config: Content of Hugging Face's config.json, else empty.
        config_text: The config of its training as mmengine writes it, as text, None if there is
            none. It may have been written to do harm: see ``embedded_config``.
    """

    tensors: dict[str, Tensor]
    dataset_meta: dict = field(default_factory=dict)
    backbone_options: dict = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    config_text: str | None = None

    @classmethod
    def of(cls, content, path: str | os.PathLike, config: Mapping | None = None) -> 'Checkpoint':
        """Unwrap the content of a file.

        Args:
            content: What was read.
            path: For messages.
            config: Content of config.json.

        Raises:
            CheckpointError: If it is not a dict of tensors, or what is beside them is malformed.
        """
        if not isinstance(content, Mapping):
            raise CheckpointError(f'{path} holds a {type(content).__name__}, not tensors by name')
        meta = content.get('meta') or {}
        beside = {}
        for name in ('dataset_meta', 'backbone'):
            part = (meta.get(name) or {}) if isinstance(meta, Mapping) else meta
            if not isinstance(part, Mapping):
                raise CheckpointError(
                    f'meta.{name} of {path} is a {type(part).__name__}, not a dict'
                )
            beside[name] = plain_values(part)
        config_text = meta.get('cfg')
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
            raise CheckpointError(f'{path} has entries that are not tensors: {", ".join(others)}')
        check_tensors(tensors, path)
        config = dict(config or {})
        backbone_options = {**beside['backbone'], **backbone_options_in(config)}
        return cls(tensors, beside['dataset_meta'], backbone_options, config, config_text)


def check_tensors(tensors: Mapping[str, Tensor], path: str | os.PathLike) -> None:
    """Refuse tensors that cannot be weights: nan, infinite, or of a shape without data.

    Raises:
        CheckpointError: With their names.
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
        raise CheckpointError(
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
        CheckpointError: If it is of another library, or has no OneFormer.
    """
    library = recognise(tensors)
    if library is None:
        raise CheckpointError(
            f'{path} has no OneFormer: no tensor begins with {MARKS["plugin"]}, but there are '
            f'{", ".join(list(tensors)[:3])} ... If it is a backbone, train with '
            f"model.backbone.init_cfg=dict(type='PretrainedBackbone', checkpoint={str(path)!r}) "
            'and without load_from'
        )
    if library != 'plugin':
        raise CheckpointError(
            f'{path} has the tensor names of another library, the {library} OneFormer; convert it '
            f'first: python tools/convert_checkpoint.py {path} OUT.pth'
        )


def classes_of(checkpoint: Checkpoint, num_classes: int, expected: Mapping | None = None) -> dict:
    """Metainfo of the classes of a checkpoint.

    Args:
        checkpoint: That may name them in ``meta.dataset_meta`` or config.json.
        num_classes: K of its class head.
        expected: Metainfo of the model that it is for. If nothing names the classes, they are taken
            to be these if there are as many, or else those of the dataset that has as many, which
            is logged.

    Returns:
        ``classes``, and ``thing_classes`` unless nothing tells them.

    Raises:
        CheckpointError: If the classes are not known, or are not as many as the head has.
    """
    dataset = known_dataset_of_size(num_classes)
    known = {'the config': expected} if expected and len(expected['classes']) == num_classes else {}
    if dataset:
        known[dataset] = resolve_metainfo(dataset)
    named, where = checkpoint.dataset_meta, 'meta.dataset_meta'
    if not named.get('classes'):
        named, where = classes_in(checkpoint.config), 'config.json'
    if not named:
        if not known:
            raise CheckpointError(
                f'the checkpoint does not name its {num_classes} classes'
                + (f', and the config has {len(expected["classes"])}' if expected else '')
                + ', which are not datasets. Write them into it first: python '
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
        raise CheckpointError(
            f'the class head of the checkpoint has {num_classes} classes, but its {where} names '
            f'{len(named["classes"])}'
        )
    if 'thing_classes' in named:
        return resolve_metainfo(named)
    same = (m for m in known.values() if match_classes(named, m) == list(range(num_classes)))
    return next(same, dict(named))
