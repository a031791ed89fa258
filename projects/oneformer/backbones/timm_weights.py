"""Weights of timm's models, read as timm reads them and checked as it does not."""

import inspect
import sys
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from .timm_models import whole_model

_FILTERS = ('checkpoint_filter_fn', '_filter_fn')


def _filter_of(model: nn.Module) -> Callable | None:
    """timm's function that renames weights of the authors, beside the class of the model."""
    module = sys.modules[type(model).__module__]
    return next((getattr(module, name) for name in _FILTERS if hasattr(module, name)), None)


def _filtered(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    apply = _filter_of(model)
    if apply is None:
        return dict(tensors)
    arguments = [dict(tensors), model][: len(inspect.signature(apply).parameters)]
    try:
        return dict(apply(*arguments))
    except Exception as error:  # on tensors of any names and shapes
        raise ValueError(f'timm cannot read it ({type(error).__name__}: {error})') from error


def _name_in_whole(key: str, whole: Mapping[str, Tensor]) -> str:
    """Name in the whole model of a tensor of its extractor, which joins ``stages.0`` by ``_``."""
    key = key.removeprefix('model.').removeprefix('body.')
    first, _, rest = key.partition('.')
    names = [key]
    for place, sign in enumerate(first):
        if sign == '_':
            names.append(f'{first[:place]}.{first[place + 1 :]}.{rest}')
    return next((name for name in names if name in whole), key)


def _lines(title: str, keys: list[str]) -> list[str]:
    return [f'{title} ({len(keys)}):', *(f'  {key}' for key in keys)] if keys else []


def translated(
    model_name: str, options: Mapping, net: nn.Module, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """See ``TimmBackbone.translate``."""
    model = whole_model(model_name, options)
    whole, found = model.state_dict(), _filtered(tensors, model)
    wanted = {key: _name_in_whole(key, whole) for key in net.state_dict()}
    classifiers = net.pretrained_cfg.get('classifier') or model.pretrained_cfg.get('classifier')
    classifiers = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers or ())
    heads = tuple(f'{name}.' for name in classifiers)
    missing = [
        name
        for name in wanted.values()
        if name not in found and not name.endswith('.num_batches_tracked')
    ]
    unknown = [key for key in found if key not in whole and not key.startswith(heads)]
    misshapen = [
        f'{name}: {tuple(found[name].shape)}, expected {tuple(whole[name].shape)}'
        for name in wanted.values()
        if name in found and found[name].shape != whole[name].shape
    ]
    problems = [
        *_lines('missing', missing),
        *_lines('unknown', unknown),
        *_lines('wrong shape', misshapen),
    ]
    if problems:
        raise ValueError('\n'.join([f'as {model_name} of timm:', *problems]))
    used = set(wanted.values())
    unused = [key for key in found if key not in used]
    return {f'net.{k}': found[name] for k, name in wanted.items() if name in found}, unused
