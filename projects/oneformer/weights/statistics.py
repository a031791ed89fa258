"""The normalisation that a backbone's weights were trained with, held against the model's own."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import nn

# of DINOv3 trained on satellite images, by a part of the names of its files and repositories
_BY_NAME = {'sat493m': ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))}
_TOLERANCE = 0.5  # of 255: files round them
Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def _of_255(mean, std) -> Statistics | None:
    try:
        parts = [tuple(255 * float(part) for part in values) for values in (mean, std)]
    except (TypeError, ValueError):
        return None
    return (parts[0], parts[1]) if all(len(part) == 3 for part in parts) else None


def statistics_of(source: str, config: Mapping) -> Statistics | None:
    """Mean and standard deviation of RGB, 0 to 255, that a source says of its weights; or None.

    Args:
        source: The file, folder or repository as a user names it.
        config: Content of its config.json, which timm writes them to.
    """
    for part, (mean, std) in _BY_NAME.items():
        if part in source.lower():
            return _of_255(mean, std)
    told = config.get('pretrained_cfg')
    if isinstance(told, Mapping):
        return _of_255(told.get('mean'), told.get('std'))
    beside = Path(source).expanduser() / 'preprocessor_config.json'
    try:
        told = json.loads(beside.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return (
        _of_255(told.get('image_mean'), told.get('image_std')) if isinstance(told, dict) else None
    )


def difference(model: nn.Module) -> str | None:
    """A line that says how a model normalises otherwise than its backbone's weights were trained.

    None if it does the same, or if nothing says how they were trained.
    """
    backbone, own = getattr(model, 'backbone', None), getattr(model, 'data_preprocessor', None)
    names = ('mean', 'std')
    trained = [list(getattr(backbone, name, ())) for name in names]
    given = [getattr(own, name, None) for name in names]
    tensors = [tensor for tensor in given if tensor is not None]
    if getattr(backbone, 'init_cfg', None) is None or not all(trained) or len(tensors) < 2:
        return None
    values = [[float(part) for part in tensor.flatten()] for tensor in tensors]
    if all(
        len(ours) == 3 and all(abs(a - b) <= _TOLERANCE for a, b in zip(ours, theirs))
        for ours, theirs in zip(values, trained)
    ):
        return None
    mean, std = ([round(part, 3) for part in values] for values in trained)
    return (
        f'images are normalised with mean {values[0]} and std {values[1]}, but the weights of '
        f'model.backbone were trained with mean {mean} and std {std}, RGB: set '
        f'model.data_preprocessor.mean={mean}, std={std}, bgr_to_rgb=True'
    )
