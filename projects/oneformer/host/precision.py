"""The precision of training, as ``oneformer train --amp`` sets it, and as a run has it."""

import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner

# bfloat16 has the range of float32: there is nothing to scale, and no step to skip on an overflow
AMP = dict(
    fp16=dict(dtype='float16', loss_scale='dynamic'),
    bf16=dict(dtype='bfloat16', loss_scale=dict(enabled=False)),
)


def use_mixed_precision(cfg: Config, kind: str) -> None:
    """Train under autocast, whatever the config says.

    Steps that half precision would spoil stay in float32, see ``docs/precision.md``.

    Args:
        cfg: Config of a run.
        kind: Type of autocast: ``fp16`` with loss scaling, or ``bf16`` without.
    """
    cfg.optim_wrapper.update(type='AmpOptimWrapper', **AMP[kind])


def describe_precision(runner: Runner) -> str:
    """The number format of the model, and that of autocast, in words."""
    weights = str(next(runner.model.parameters()).dtype).removeprefix('torch.')
    if not isinstance(runner.optim_wrapper, AmpOptimWrapper):
        return weights
    autocast = runner.optim_wrapper.cast_dtype or torch.get_autocast_dtype('cuda')
    return f'{weights} weights under {str(autocast).removeprefix("torch.")} autocast'
