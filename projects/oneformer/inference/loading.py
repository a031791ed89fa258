"""Whatever predicts: a model of torch, or an exported one."""

import os
from collections.abc import Mapping

import torch
from mmengine.config import Config
from torch import nn

from oneformer_runtime.model_json import exported_folder

from ..kernels.attention_paths import want_path, wanted_path
from ..kernels.precision import check_precision
from .exported_model import ExportedModel, load_exported
from .settings import Settings
from .trained_model import check_device, load_trained, use_precision


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


def _refuse_those_of_exported_models(engine: str | None, precision: str | None) -> None:
    """Raise ValueError for options that only the folder of an exported model has."""
    given = dict(engine=engine, precision=precision if precision == 'int8' else None)
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f'{name} {value} (--{name}) is for exported models, and these weights are run by '
                'torch: write one by oneformer export, and give its folder as the weights'
            )
