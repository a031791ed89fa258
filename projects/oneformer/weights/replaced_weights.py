"""A backbone's ImageNet weights are not fetched where a checkpoint replaces them anyway."""

from collections.abc import Mapping, MutableMapping, Sequence

from mmengine.logging import print_log
from mmengine.runner import Runner, find_latest_checkpoint
from torch import nn

from ..host.runner_state import bare_model

_PRETRAINED = ('Pretrained', 'PretrainedBackbone', 'PretrainedInit')


def replacing_checkpoint(runner: Runner, fresh: Sequence[str]) -> str | None:
    """The checkpoint from which training will take all weights of the backbone, None without one.

    Args:
        runner: Before its model is initialised.
        fresh: Option of ``ReuseWeights``: what is not taken from ``load_from``.
    """
    if runner._resume:
        return runner._load_from or find_latest_checkpoint(runner.work_dir)
    # a tensor may be named by the beginning of "backbone." or by more than that
    is_kept = any(s.startswith('backbone.') or 'backbone.'.startswith(s) for s in fresh)
    return None if is_kept else runner._load_from


def _source(init_cfg: object) -> str | None:
    """From where an ``init_cfg`` loads weights, None if it draws them."""
    for entry in init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg]:
        if isinstance(entry, Mapping):
            kind = entry.get('type')
            if str(getattr(kind, '__name__', kind)).split('.')[-1] in _PRETRAINED:
                return str(entry.get('checkpoint'))
    return None


def _skip_in_module(model: nn.Module) -> list[str]:
    skipped = []
    for module in model.modules():
        source = _source(getattr(module, 'init_cfg', None))
        if source is not None and not module.is_init:
            module.is_init = True
            if getattr(module, 'save_frozen', True):  # else it may be read for the checkpoint
                skipped.append(source)
        elif getattr(module, 'pretrained', None) is True:
            module.pretrained = False
            skipped.append(f'the package of {type(module).__name__}')
    return skipped


def _skip_in_config(model: MutableMapping) -> list[str]:
    backbone = model.get('backbone') or {}
    source = _source(backbone.get('init_cfg'))
    if source is None or not backbone.get('save_frozen', True):
        return []
    backbone['init_cfg'] = None
    return [source]


def skip_replaced_weights(runner: Runner, fresh: Sequence[str] = ()) -> None:
    """Initialise a model without the weights of a backbone that a checkpoint replaces, and say so.

    Args:
        runner: Runner of training, before its model is initialised. A model that is not even built,
            as of mmengine's ``FlexibleRunner``, gets another config.
        fresh: See ``replacing_checkpoint``.
    """
    replacement = replacing_checkpoint(runner, fresh)
    if replacement is None:
        return
    is_built = not isinstance(runner.model, MutableMapping)
    skipped = _skip_in_module(bare_model(runner)) if is_built else _skip_in_config(runner.model)
    for source in skipped:
        print_log(
            f'backbone: {source} is neither downloaded nor read, since all weights come from '
            f'{replacement}',
            logger='current',
        )
