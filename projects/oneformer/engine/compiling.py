"""Compile what has the same shapes in every step of training."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from .runner_state import bare_model


@HOOKS.register_module()
class CompileBackbone(Hook):
    """Compiles the backbone by ``torch.compile``, for training alone.

    Crops of training have one size, while photos of validation have many, each of which would be
    compiled anew. Behind the backbone shapes follow the targets and texts of a batch.

    Args:
        backend: Of ``torch.compile``.
    """

    def __init__(self, backend: str = 'inductor') -> None:
        self.backend = backend

    def before_train(self, runner) -> None:
        """Let the backbone choose by its mode; it is compiled when it is first called."""
        model = bare_model(runner)
        backbone = model.backbone
        plain = backbone.forward
        compiled = torch.compile(plain, backend=self.backend, dynamic=False)
        backbone.forward = lambda x: (compiled if backbone.training else plain)(x)
