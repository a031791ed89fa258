"""The precision of training, as ``oneformer train --amp`` sets it, and as a run has it."""

import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner

# bfloat16 has the range of float32: there is nothing to scale, and no step to skip on an overflow
AMP: dict[str, dict] = dict(
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


def allow_tf32(cfg: Config) -> None:
    """Let float32 matrix products of training use TF32, by ``train_cfg.tf32``.

    Raises:
        SystemExit: If the config has a loop without this setting.
    """
    kind = str(cfg.train_cfg.get('type'))
    if 'OneFormerTrainLoop' not in kind:
        raise SystemExit(
            f'--tf32 is a setting of OneFormerTrainLoop, and train_cfg.type is {kind}: leave it '
            'out, or count the length in iterations by that loop'
        )
    cfg.train_cfg.tf32 = True


def describe_precision(runner: Runner) -> str:
    """The number format of the model, that of autocast, and TF32, in words."""
    text = str(next(runner.model.parameters()).dtype).removeprefix('torch.')
    if isinstance(runner.optim_wrapper, AmpOptimWrapper):
        autocast = runner.optim_wrapper.cast_dtype or torch.get_autocast_dtype('cuda')
        text += f' weights under {str(autocast).removeprefix("torch.")} autocast'
    if getattr(runner.train_loop, 'tf32', False):
        text += ', products of float32 in TF32'
    return text
