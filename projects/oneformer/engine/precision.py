"""The precision of training, as ``tools/train.py --amp`` asks for it."""

from mmengine.config import Config

# bfloat16 has the range of float32: there is nothing to scale, and no step to skip on an overflow
AMP = dict(
    fp16=dict(dtype='float16', loss_scale='dynamic'),
    bf16=dict(dtype='bfloat16', loss_scale=dict(enabled=False)),
)


def use_mixed_precision(cfg: Config, kind: str) -> None:
    """Train under autocast, whatever the config says.

    What half precision would spoil stays in float32, see ``docs/precision.md``.

    Args:
        cfg: Config of a run.
        kind: ``fp16`` with loss scaling, or ``bf16`` without.
    """
    cfg.optim_wrapper.update(type='AmpOptimWrapper', **AMP[kind])
