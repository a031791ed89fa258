"""Facts of a runner that several hooks need."""

from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def bare_model(runner: Runner) -> nn.Module:
    """The model without the wrapper of several processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def accumulated_iterations(runner: Runner) -> int:
    """Iterations whose gradients make one step of the optimizer."""
    return getattr(runner.optim_wrapper, '_accumulative_counts', 1)
