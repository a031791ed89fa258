"""Compile the part that has the same shapes in every step of training."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from .runner_state import bare_model


@HOOKS.register_module()
class CompileBackbone(Hook):
    """Compiles the backbone by ``torch.compile``, for training only.

    Crops of training have one size, while images of validation have many, each of which would be
    compiled again. Behind the backbone shapes follow the targets and texts of a batch.

    Args:
        backend: Backend of ``torch.compile``.
    """

    def __init__(self, backend: str = 'inductor') -> None:
        self.backend = backend

    def before_train(self, runner) -> None:
        """Make the backbone choose its forward by its mode; it is compiled on its first call."""
        model = bare_model(runner)
        backbone = model.backbone
        plain = backbone.forward
        compiled = torch.compile(plain, backend=self.backend, dynamic=False)
        backbone.forward = lambda x: (compiled if backbone.training else plain)(x)
