"""An optimizer's state in a checkpoint, made to fit the optimizer that goes on with it."""

import logging
import math
from collections.abc import Mapping, MutableMapping, Sequence

from mmengine.logging import print_log
from torch import Tensor

from .errors import CheckpointError
from .schedules import LAYER

_REMEDY = 'or start from its weights, by load_from without --resume'


def _compare_groups(saved: Sequence[Mapping], ours: Sequence[Mapping], path: str) -> None:
    """Refuse groups of other parameters, and tell proportions of the rates that have changed."""
    counts = [[len(group['params']) for group in groups] for groups in (saved, ours)]
    if counts[0] != counts[1]:
        raise CheckpointError(
            f'the optimizer in {path} has {len(saved)} groups of {sum(counts[0])} parameters, and '
            f'that of the config {len(ours)} of {sum(counts[1])}: optim_wrapper.paramwise_cfg or '
            f'what is frozen has changed. Take it back, {_REMEDY}'
        )
    rates = [[group.get('initial_lr', group['lr']) for group in groups] for groups in (saved, ours)]
    shares = [old / new for old, new in zip(*rates) if new]
    if shares and not all(math.isclose(share, shares[0], rel_tol=1e-6) for share in shares):
        print_log(
            'the learning rates of the parameter groups keep the proportions of '
            f'{path}, and not those of optim_wrapper.paramwise_cfg, which has changed: to use '
            f'these, {_REMEDY.removeprefix("or ")}',
            'current',
            logging.WARNING,
        )


def make_loadable(optimizer: MutableMapping, wrapper, path: str = 'the checkpoint') -> None:
    """Undo what would slow or prevent the optimizer's loading of its state.

    Args:
        optimizer: State of the checkpoint.
        wrapper: The run's ``OptimWrapper``.
        path: The checkpoint, for messages.

    Raises:
        CheckpointError: If the state is of other groups of parameters.
    """
    # counts of steps stay on the CPU, where a new optimizer has them: AdamW reads each in every
    # step, and torch moves them itself for those kinds that want them on the GPU
    for values in optimizer.get('state', {}).values():
        if isinstance(values.get('step'), Tensor):
            values['step'] = values['step'].cpu()
    if not optimizer.get('loss_scaler', True):  # of a scale that was off, as with bfloat16
        del optimizer['loss_scaler']
    own = getattr(wrapper, 'optimizer', None)
    saved, ours = optimizer.get('param_groups', []), getattr(own, 'param_groups', [])
    if saved and ours:
        _compare_groups(saved, ours, path)
    # how a step is computed is up to this run's device, and a loss scale relies on it
    defaults = getattr(own, 'defaults', {})
    for group in saved:
        group.update({name: defaults[name] for name in ('foreach', 'fused') if name in defaults})
    for group, our in zip(saved, ours):
        if LAYER in our:  # not in checkpoints of a config without layers
            group[LAYER] = our[LAYER]
