"""Build a trained model from a config and its weights, or from the weights alone, strictly."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from ..checkpoints.content import Checkpoint, classes_of, require_ours
from ..checkpoints.files import read_checkpoint
from ..checkpoints.settings import warn_of_differences
from ..class_matching import check_same_classes
from ..conversion.architecture import contradictions, in_text_branch, num_classes_of, shapes_of
from ..conversion.fitting import misfits
from ..conversion.layout import rebuilt_by_us
from ..host.errors import CheckpointError
from ..metainfo import resolve_metainfo
from .settings import Settings, guess_settings, read_settings, settings_of_training


@dataclass
class TrainedModel:
    """A model, and what its predictions mean.

    Attributes:
        model: With its weights, for inference.
        pipeline: Configs of the test transforms, the first of which loads the image.
        dataset_meta: With ``classes``, ``thing_classes``, and maybe ``palette`` and
            ``category_ids``.
        tasks: Task words that it predicts unless others are asked for.
    """

    model: nn.Module
    pipeline: list[dict]
    dataset_meta: dict
    tasks: tuple[str, ...]


def check_device(device: str | torch.device) -> torch.device:
    """Try a device; ValueError if torch cannot compute on it here."""
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except Exception as error:  # backends raise whatever they like
        reason = str(error).split('\n')[0]
        raise ValueError(f'device {device} cannot be used here ({reason})') from error
    if chosen.type == 'meta':
        raise ValueError('device meta computes nothing: choose cpu or cuda')
    return chosen


def read_weights(path: str | os.PathLike) -> Checkpoint:
    """Read a checkpoint of this plugin, without running what it contains.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is broken, not trusted, or of another library.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'weights {path} do not exist')
    if path.is_dir() and not (path / 'config.json').is_file():
        raise ValueError(f'weights {path} are a folder: give the file of a checkpoint')
    checkpoint = read_checkpoint(path)
    require_ours(checkpoint.tensors, path)
    return checkpoint


def count_classes(tensors: Mapping[str, Tensor], path: str | os.PathLike) -> int:
    """K, of the class head of a checkpoint."""
    try:
        return num_classes_of(shapes_of(tensors))
    except KeyError as error:
        raise ValueError(
            f'{path} has no {error.args[0]}: it is incomplete, or of another version'
        ) from None


def choose_metainfo(checkpoint: Checkpoint, configured, weights: str | os.PathLike) -> dict:
    """Classes of the checkpoint, see ``classes_of``.

    Args:
        checkpoint: With the class head.
        configured: ``model.metainfo`` of the config, None without a config.
        weights: Path of the checkpoint, for messages.

    Raises:
        ValueError: If config and class head have different numbers of classes, and if nothing names
            the classes.
    """
    num_classes = count_classes(checkpoint.tensors, weights)
    if configured is not None:
        configured = resolve_metainfo(configured)
        if len(configured['classes']) != num_classes:
            raise ValueError(
                f'{weights} has {num_classes} classes, but the config '
                f'{len(configured["classes"])}: give the config that it was trained with, or train '
                'it on the classes of this one first'
            )
    try:
        metainfo = classes_of(checkpoint, num_classes, configured)
    except ValueError as error:
        raise ValueError(f'{weights}: {error}; or give the config of its training') from error
    if 'thing_classes' not in metainfo:
        raise ValueError(
            f'{weights} does not name its things (meta.dataset_meta): give the config that it was '
            'trained with'
        )
    if configured is not None:
        try:
            check_same_classes(metainfo, configured)
        except ValueError as error:
            print_log(
                f'{weights}: {error}. Predictions have the names of the checkpoint',
                logger='current',
                level=logging.WARNING,
            )
    return {'palette': (configured or {}).get('palette'), **metainfo}


def load_strictly(
    model: nn.Module, tensors: Mapping[str, Tensor], weights: str | os.PathLike
) -> None:
    """Load every tensor of a state dict but those of the text branch, and those that are rebuilt.

    Raises:
        ValueError: With the lists of missing, unknown and misshapen tensors.
    """
    state = model.state_dict()
    if problems := misfits(shapes_of(tensors), shapes_of(state)):
        title = f'{weights} does not fit the model: give the config that it was trained with'
        raise ValueError('\n'.join([title, *problems]))
    given = {
        key: tensor
        for key, tensor in tensors.items()
        if not in_text_branch(key) and not rebuilt_by_us(key)
    }
    model.load_state_dict({**state, **given})


def build_model(
    settings: Settings, metainfo: Mapping, weights: str | os.PathLike | None
) -> nn.Module:
    """Build a model for inference, with random weights.

    Args:
        settings: With its config.
        metainfo: Its classes.
        weights: Path of the checkpoint whose word the config is, None for a config of the user.

    Raises:
        CheckpointError: If what a checkpoint says is not a model.
    """
    model_cfg = ConfigDict(
        settings.model, metainfo=metainfo, criterion=None, text_mapper=None, contrastive_loss=None
    )
    try:
        with DefaultScope.overwrite_default_scope('mmdet'):
            return MODELS.build(model_cfg)
    except Exception as error:  # options of any type
        if weights is None:
            raise
        raise CheckpointError(
            f'no model can be built as {weights} says ({type(error).__name__}: {error}): give the '
            'config that it was trained with'
        ) from error


def load_trained(
    model: str | os.PathLike | Config | None, weights: str | os.PathLike, device: str | torch.device
) -> TrainedModel:
    """Build a model for inference.

    Args:
        model: Config, its path, its name in the zoo, or None for the config of its training, which
            a checkpoint of training holds; without it the architecture is read from the weights.
        weights: Checkpoint of this plugin; its text branch is not needed.
        device: Where to.

    Raises:
        FileNotFoundError: If the config or the weights do not exist.
        ValueError: If the device cannot be used, the config is none of a OneFormer, or the weights
            cannot be read safely or do not fit.
    """
    device = check_device(device)
    given = read_settings(model) if model is not None else None
    checkpoint = read_weights(weights)
    settings = given or settings_of_training(checkpoint, weights)
    if settings is None:
        metainfo = choose_metainfo(checkpoint, None, weights)
        settings = guess_settings(checkpoint, metainfo, weights)
    else:
        if wrong := contradictions(settings.model.backbone, checkpoint.backbone_options):
            raise ValueError('\n'.join([f'{weights} is of another model than the config:', *wrong]))
        metainfo = choose_metainfo(checkpoint, settings.model.metainfo, weights)
    if given is not None:
        warn_of_differences(checkpoint, weights, given.model, given.pipeline)
    trained = build_model(settings, metainfo, None if given else weights)
    load_strictly(trained, checkpoint.tensors, weights)
    return TrainedModel(trained.to(device).eval(), settings.pipeline, metainfo, settings.tasks)
