"""The original's learning-rate and weight-decay rules, in as few parameter groups as they need.

A learning rate that decays over the layers of the backbone is optional, see ``layer_decay``.
"""

from collections import defaultdict
from collections.abc import Mapping

import torch
from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.logging import MMLogger
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ..host.schedules import LAYER
from ..kernels.group_norm import GroupNorm
from .console import DETAIL
from .layer_decay import EMBEDDINGS, group_table, layers_of

_UNDECAYED_NAMES = EMBEDDINGS | {'relative_position_bias_table'}
_OPTIONS = {'backbone_lr_mult', 'layer_decay'}
_FUSED = ('AdamW', 'Adam', 'SGD')  # have such a kernel for CUDA in torch 2.4 and later
_CHOICES = ('fused', 'foreach', 'capturable', 'differentiable')


def is_decayed(module: nn.Module, module_name: str, parameter_name: str) -> bool:
    """Whether the original decays a parameter.

    Norms and embeddings are not decayed; everything else is, biases included. Three rules surprise
    (its train_net.py): the pixel decoder's level embedding is a bare parameter there and is
    decayed, although mmdet holds it in an ``nn.Embedding``; so are ConvNeXt's own norms, which only
    derive from ``nn.LayerNorm`` here; relative position biases are not. Positions and tokens
    (``EMBEDDINGS``), and timm's norms, which the original does not have, are not decayed either.

    Args:
        module: The parameter's owner.
        module_name: Dotted name of the owner in the model.
        parameter_name: The parameter's name in its owner.
    """
    if module_name.endswith('pixel_decoder.level_encoding'):
        return True
    if parameter_name in _UNDECAYED_NAMES or isinstance(module, nn.Embedding):
        return False
    if type(module) in (nn.LayerNorm, nn.GroupNorm, GroupNorm, nn.LocalResponseNorm):
        return False
    if type(module).__module__.startswith('timm.') and 'norm' in type(module).__name__.lower():
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

    ``paramwise_cfg`` takes ``backbone_lr_mult`` (0.1 in the original, 1 if it is left out) and
    ``layer_decay`` (None in the original). With a decay d, layer i of a backbone with N blocks, see
    ``layer_decay``, has the rate lr * backbone_lr_mult * d ** (N + 1 - i), and everything outside
    of the backbone lr. With any number, also 1.0 for no decay, groups say in ``layer`` where they
    belong, which ``TwoStagePolyLR`` needs, and the log file has a table of them.

    On a GPU the optimizer is ``fused`` where torch can: one kernel, which also takes the loss
    scale's flag from the device, where another optimizer waits for it. ``optimizer.foreach=True``
    is torch's own choice.

    Raises:
        ValueError: When called, for other options, a decay outside of 0 to 1, and a backbone whose
            layers are not known.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer of a model that is on its device, and its wrapper."""
        if can_fuse(self.optimizer_cfg, model):
            self.optimizer_cfg = dict(self.optimizer_cfg, fused=True)
        return super().__call__(model)

    def _check_options(self) -> float | None:
        """The layer decay, once the options are known to be valid."""
        if unknown := sorted(set(self.paramwise_cfg) - _OPTIONS):
            raise ValueError(
                f'optim_wrapper.paramwise_cfg has {", ".join(unknown)}, which {type(self).__name__}'
                f' does not read: it takes {" and ".join(sorted(_OPTIONS))}. For others set '
                "optim_wrapper.constructor='DefaultOptimWrapperConstructor'"
            )
        decay = self.paramwise_cfg.get('layer_decay')
        if decay is not None and not (isinstance(decay, int | float) and 0 < decay <= 1):
            raise ValueError(
                f'optim_wrapper.paramwise_cfg.layer_decay is {decay!r}: it takes a factor for each '
                'layer, above 0 and up to 1, or None'
            )
        return decay

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Append the groups of ``module`` to ``params``."""
        decay = self._check_options()
        backbone_lr = self.base_lr * self.paramwise_cfg.get('backbone_lr_mult', 1.0)
        layers, last = _layers(module, decay)
        groups, names = defaultdict(list), {}
        for module_name, owner in module.named_modules():
            in_backbone = module_name.split('.')[0] == 'backbone'
            for name, parameter in owner.named_parameters(recurse=False):
                if not parameter.requires_grad or id(parameter) in names:
                    continue
                names[id(parameter)] = full_name = f'{module_name}.{name}'.lstrip('.')
                lr, layer = backbone_lr if in_backbone else self.base_lr, None
                if decay is not None and in_backbone:
                    layer = layers.get(full_name, last)
                    lr = backbone_lr * decay ** (last - layer)
                wd = self.base_wd if is_decayed(owner, module_name, name) else 0.0
                groups[layer, lr, wd].append(parameter)
        for (layer, lr, wd), parameters in groups.items():
            params.append(dict(params=parameters, lr=lr, weight_decay=wd))
            if decay is not None:
                params[-1][LAYER] = layer
        if decay is not None:
            MMLogger.get_current_instance().info(
                f'parameter groups, layer_decay {decay:g}:\n{group_table(params, names)}',
                extra=DETAIL,
            )


def _layers(model: nn.Module, decay: float | None) -> tuple[dict[str, int], int]:
    """Layer of each parameter of a model's backbone by its name in the model, and the last layer.

    Without a decay all of it is the last layer.
    """
    backbone = getattr(model, 'backbone', None)
    if decay in (None, 1) or backbone is None:
        return {}, 0
    layers, blocks = layers_of(backbone)
    return {f'backbone.{name}': layer for name, layer in layers.items()}, blocks + 1
