"""Whatever predicts: an exported model, or one of torch, strictly from its weights."""

import logging
import os
from collections.abc import Mapping

import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import nn

from oneformer_runtime.model_json import exported_folder

from ..host.errors import CheckpointError
from ..kernels.attention_paths import want_path, wanted_path
from ..kernels.precision import PRECISIONS, check_precision, usable_precision
from ..weights.classes import classes_to_predict
from ..weights.fitting import fit
from ..weights.reading import read
from ..weights.settings import notes_on, warn_of_differences
from ..weights.sources import Source
from ..zoo import find_config, find_model
from .exported_model import ExportedModel, load_exported
from .settings import Settings, guess_settings, read_settings, settings_of_training


def load_any(
    model: str | os.PathLike | Config | None,
    weights: str | os.PathLike | None,
    device: str | torch.device | None,
    trust_pickle: bool,
    attention: str | None,
    precision: str | None,
    engine: str | None = None,
) -> tuple[nn.Module | ExportedModel, Settings, Mapping]:
    """Load the model of an inferencer, whose arguments and errors these are.

    Returns:
        The model, its settings, and ``classes``, ``thing_classes``, and maybe ``palette`` and
        ``category_ids`` of its predictions.
    """
    if folder := exported_folder(weights):
        return load_exported(
            folder,
            engine,
            precision,
            model=model,
            device=device,
            trust_pickle=trust_pickle,
            attention=attention,
        )
    _refuse_those_of_exported_models(engine, precision)
    device = check_device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if precision is not None:
        check_precision(precision, device)
    trained, settings, dataset_meta = load_trained(model, weights, device, trust_pickle)
    want_path(trained, attention or wanted_path(trained))
    use_precision(trained, precision, device)
    return trained, settings, dataset_meta


def load_trained(
    model: str | os.PathLike | Config | None,
    weights: str | os.PathLike | None,
    device: str | torch.device,
    trust_pickle: bool = False,
) -> tuple[nn.Module, Settings, dict]:
    """Build a model for inference.

    Args:
        model: Config, its path, its name in the zoo, or None for the config of its training, which
            a checkpoint of training holds; without it the architecture is read from the weights.
        weights: Whatever ``weights.read`` takes; a text branch is not needed. None takes the
            published weights of a model that is given by its name in the zoo.
        device: Device of the model.
        trust_pickle: See ``weights.read``.

    Returns:
        The model with its weights, its settings, and ``classes``, ``thing_classes``, and maybe
        ``palette`` and ``category_ids`` of its predictions.

    Raises:
        FileNotFoundError: If the config does not exist.
        ValueError: If the device cannot be used, or the config is not of a OneFormer.
        CheckpointError: If the weights cannot be read safely, or do not fit.
    """
    device = check_device(device)
    model, weights = _choose(model, weights)
    given = read_settings(model) if model is not None else None
    read_weights = read(weights, trust_pickle)
    settings = given or settings_of_training(read_weights)
    configured = None if settings is None else settings.model.metainfo
    metainfo = classes_to_predict(read_weights, configured)
    settings = settings or guess_settings(read_weights, metainfo)
    if given is not None:
        warn_of_differences(read_weights, given.model, given.pipeline)
    trained = build_model(settings, metainfo, None if given else read_weights.path)
    trained.load_state_dict(fit(read_weights, trained, 'predict').tensors)
    for line in notes_on(read_weights):
        print_log(line, logger='current')
    return trained.to(device).eval(), settings, metainfo


def _choose(model: object, weights: str | os.PathLike | None) -> tuple[object, Source]:
    """Config and weights, either of which a name of the zoo stands for.

    Raises:
        CheckpointError: If neither says which weights.
        FileNotFoundError: If there is no such config.
    """
    if weights is not None:
        if model is None and isinstance(weights, str) and not os.path.exists(weights):
            return (weights if find_model(weights) else None), weights
        return model, weights
    if isinstance(model, str | os.PathLike):
        find_config(model)
    published = find_model(model) if isinstance(model, str) else None
    if published is None:
        raise CheckpointError(
            'no weights: give a checkpoint of training, or another one of a OneFormer (file, '
            'folder, URL, id on the Hugging Face hub), or as the model the name of one with '
            'published weights: oneformer list lists them'
        )
    return model, published


def build_model(
    settings: Settings, metainfo: Mapping, weights: str | os.PathLike | None
) -> nn.Module:
    """Build a model for inference, with random weights.

    Args:
        settings: Settings with its config.
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


def use_precision(model: nn.Module, precision: str | None, device: torch.device) -> None:
    """Let a model's network run in a precision, and log any but float32.

    Args:
        model: Model of ``load_trained``.
        precision: One of ``PRECISIONS``, which is checked; None for that of the config.
        device: Device of the model.

    Raises:
        ValueError: If the device does not have that of the config.
    """
    if precision is not None:
        model.test_cfg['precision'] = precision
    elif (precision := model.test_cfg.get('precision')) is not None:
        check_precision(precision, device, 'model.test_cfg.precision of the config')
    if precision is None:
        return
    precision, warning = usable_precision(precision, device)
    if warning is not None:
        print_log(warning, logger='current', level=logging.WARNING)
    elif precision != 'fp32':
        print_log(
            f'precision {precision}: {PRECISIONS[precision]} in the network, predictions in '
            'float32',
            logger='current',
        )


def _refuse_those_of_exported_models(engine: str | None, precision: str | None) -> None:
    """Raise ValueError for options that only the folder of an exported model has."""
    given = dict(engine=engine, precision=precision if precision == 'int8' else None)
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f'{name} {value} (--{name}) is for exported models, and these weights are run by '
                'torch: write one by oneformer export, and give its folder as the weights'
            )
