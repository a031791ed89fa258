"""Weights of a frozen backbone that checkpoints leave to the file they come from.

Such a checkpoint has, as ``meta['frozen_backbone']``, where the weights came from, and a hash of
them. Whatever loads it reads them from there once more, and refuses others.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path

import torch
from mmengine.hooks import Hook
from torch import Tensor, nn

from ..host.errors import CheckpointError
from ..host.runner_state import bare_model
from .downloads import find_download
from .hub import find_cached, hub_source
from .reading import PREFIX, Weights, read
from .sources import Source

META = 'frozen_backbone'
_EMA = 'module.'  # before the names of mmengine's averaged weights


def is_left_out(key: str, backbone: nn.Module) -> bool:
    """Whether a tensor of a model is one of a backbone that checkpoints leave out."""
    return key.startswith(PREFIX) and not key.removeprefix(PREFIX).startswith(backbone.not_in_files)


def _leaves_out(model: nn.Module) -> bool:
    return not getattr(getattr(model, 'backbone', None), 'save_frozen', True)


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of tensors with their names, types and shapes, whatever file they are in."""
    digest = hashlib.sha256()
    for key, tensor in sorted(tensors.items()):
        digest.update(f'{key} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _frozen_part(weights: Weights, backbone: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in weights.tensors.items() if is_left_out(k, backbone)}


def remember_source(weights: Weights, backbone: nn.Module, source: str) -> None:
    """Note on a backbone from where it has its weights, for the checkpoints that leave them out.

    Args:
        weights: What was read.
        backbone: Of a model; nothing is done unless its checkpoints leave out what was read.
        source: The file as a user names it.
    """
    if getattr(backbone, 'save_frozen', True):
        return
    if part := _frozen_part(weights, backbone):
        backbone.frozen_source = dict(source=str(source), sha256=hash_of(part))


def _fetched(source: str) -> Path | None:
    """Where something of a network is kept, None if it was never fetched or is of no network."""
    try:
        if repository := hub_source(source):
            return find_cached(repository)
        return find_download(source) if '://' in source else None
    except CheckpointError:
        return None


def _sources(weights: Weights, backbone: nn.Module) -> Iterator[tuple[Source, bool]]:
    """Where the weights may be, and whether a pickle may be run there.

    That is where the config says, and else where the checkpoint says; the word of a checkpoint
    alone starts no download.
    """
    init_cfg = getattr(backbone, 'init_cfg', None)
    if isinstance(init_cfg, Mapping) and init_cfg.get('checkpoint'):
        yield init_cfg['checkpoint'], bool(init_cfg.get('trust_pickle'))
    recorded = weights.frozen['source']
    found = [_fetched(recorded), Path(recorded), Path(weights.path).parent / Path(recorded).name]
    for path in found:
        # no devices, whatever a checkpoint says
        if path is not None and (os.path.isfile(path) or os.path.isdir(path)):
            yield path, False


def with_frozen(weights: Weights, model: nn.Module) -> Weights:
    """Weights with those of a frozen backbone that their file leaves to another one.

    Args:
        weights: What was read.
        model: Model that gets them, or its backbone.

    Raises:
        CheckpointError: If the other file is not here, or holds others.
    """
    backbone = getattr(model, 'backbone', model)
    if (
        not weights.frozen
        or not hasattr(backbone, 'not_in_files')
        or _frozen_part(weights, backbone)
    ):
        return weights
    recorded, failures = weights.frozen, []
    if not all(isinstance(recorded.get(name), str) for name in ('source', 'sha256')):
        raise CheckpointError(
            f'{weights.path} is damaged: meta.{META} is {recorded}, without source and sha256'
        )
    for source, trust in _sources(weights, backbone):
        try:
            other = read(source, trust)
        except (CheckpointError, OSError) as error:
            failures.append(f'{source}: {error}')
            continue
        part = _frozen_part(other, backbone)
        if (found := hash_of(part)) == recorded['sha256']:
            sizes = backbone.adapt({k.removeprefix(PREFIX): v for k, v in part.items()})[0]
            tensors = {f'{PREFIX}{key}': value for key, value in sizes.items()}
            if not getattr(backbone, 'save_frozen', True):
                backbone.frozen_source = dict(recorded, source=str(source))
            return replace(weights, tensors={**tensors, **weights.tensors})
        failures.append(f'{source}: other weights, their hash is {found}')
    name = Path(recorded['source']).name
    raise CheckpointError(
        '\n'.join(
            [
                f'{weights.path} is without the weights of its frozen backbone '
                f'(save_frozen=False): they are in {recorded["source"]}, with the hash '
                f'{recorded["sha256"]}, which was not found. Put it beside the checkpoint as '
                f'{name}, or name it in the config by '
                "model.backbone.init_cfg=dict(type='PretrainedBackbone', checkpoint=FILE)",
                *failures,
            ]
        )
    )


class LeaveOutFrozen(Hook):
    """Leaves weights of a frozen backbone out of checkpoints, see the module."""

    priority = 'LOWEST'  # after averaged weights were put into the checkpoint

    def before_train(self, runner) -> None:
        """Refuse training whose checkpoints could not say from where the weights are.

        Raises:
            CheckpointError: If the backbone was initialised at random.
        """
        model = bare_model(runner)
        if _leaves_out(model) and model.backbone.frozen_source is None:
            raise CheckpointError(
                'model.backbone.save_frozen=False leaves weights to the file that they come from, '
                'but they come from none: set model.backbone.init_cfg=dict('
                "type='PretrainedBackbone', checkpoint=FILE), or save_frozen=True"
            )

    def before_save_checkpoint(self, runner, checkpoint: MutableMapping) -> None:
        """Take the weights out, and note their source."""
        model = bare_model(runner)
        if not _leaves_out(model):
            return
        backbone = model.backbone
        checkpoint['meta'][META] = dict(backbone.frozen_source)
        for name in ('state_dict', 'ema_state_dict'):
            if name in checkpoint:
                state = checkpoint[name]
                checkpoint[name] = {
                    key: value
                    for key, value in state.items()
                    if not is_left_out(key.removeprefix(_EMA), backbone)
                }


def complete_average(checkpoint: MutableMapping, tensors: Mapping[str, Tensor]) -> None:
    """Put weights of a frozen backbone beside averaged ones that were saved without them.

    Args:
        checkpoint: May have ``ema_state_dict``, of the same names behind ``module.``.
        tensors: All weights of the model.
    """
    average = checkpoint.get('ema_state_dict')
    if not isinstance(average, MutableMapping):
        return
    for key, value in tensors.items():
        if key.startswith(PREFIX):
            average.setdefault(_EMA + key, value)
