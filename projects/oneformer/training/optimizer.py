"""The original's learning-rate and weight-decay rules, in as few parameter groups as they need."""

from collections import defaultdict
from collections.abc import Mapping

import torch
from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

_UNDECAYED_NAMES = ('relative_position_bias_table', 'absolute_pos_embed')
_FUSED = ('AdamW', 'Adam', 'SGD')  # have such a kernel for CUDA in torch 2.4 and later
_CHOICES = ('fused', 'foreach', 'capturable', 'differentiable')


def is_decayed(module: nn.Module, module_name: str, parameter_name: str) -> bool:
    """Whether the original decays a parameter.

    Norms and embeddings are not decayed; everything else is, biases included. Three rules surprise
    (its train_net.py): the pixel decoder's level embedding is a bare parameter there and is
    decayed, although mmdet holds it in an ``nn.Embedding``; so are ConvNeXt's own norms, which only
    derive from ``nn.LayerNorm`` here; relative position biases are not.

    Args:
        module: The parameter's owner.
        module_name: Dotted name of the owner in the model.
        parameter_name: The parameter's name in its owner.
    """
    if module_name.endswith('pixel_decoder.level_encoding'):
        return True
    if parameter_name in _UNDECAYED_NAMES or isinstance(module, nn.Embedding):
        return False
    if type(module) in (nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm):
        return False
    return not isinstance(module, (_BatchNorm, _InstanceNorm))


def can_fuse(optimizer: Mapping, model: nn.Module) -> bool:
    """Whether a step is one kernel for many tensors on the model's device.

    On a CPU it is not: there it would be another rounding, and torch's own choice remains.

    Args:
        optimizer: Config of an optimizer; one that chooses for itself is left alone.
        model: Model on its device.
    """
    kinds = [*_FUSED, *(getattr(torch.optim, name) for name in _FUSED)]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return (
        optimizer['type'] in kinds
        and not any(choice in optimizer for choice in _CHOICES)
        and all(p.device.type == 'cuda' and p.is_floating_point() for p in trained)
    )


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OneFormerOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Builds one group for each pair of learning rate and weight decay.

    mmengine's default makes a group per parameter, which keeps foreach and fused optimizers from
    working on many tensors at once.

    ``paramwise_cfg`` takes ``backbone_lr_mult`` (0.1 in the original). On a GPU the optimizer is
    ``fused`` where torch can: one kernel, which also takes the loss scale's flag from the device,
    where another optimizer waits for it. ``optimizer.foreach=True`` is torch's own choice.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of a model that is on its device, and its wrapper."""
        if can_fuse(self.optimizer_cfg, model):
            self.optimizer_cfg = dict(self.optimizer_cfg, fused=True)
        return super().__call__(model)

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Append the groups of ``module`` to ``params``."""
        backbone_lr = self.base_lr * self.paramwise_cfg['backbone_lr_mult']
        groups = defaultdict(list)
        for module_name, owner in module.named_modules():
            lr = backbone_lr if module_name.split('.')[0] == 'backbone' else self.base_lr
            for name, parameter in owner.named_parameters(recurse=False):
                if parameter.requires_grad:
                    decay = self.base_wd if is_decayed(owner, module_name, name) else 0.0
                    groups[lr, decay].append(parameter)
        for (lr, decay), parameters in groups.items():
            params.append(dict(params=parameters, lr=lr, weight_decay=decay))
