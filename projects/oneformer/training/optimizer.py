"""The original's learning-rate and weight-decay rules, in as few parameter groups as they need."""

from collections import defaultdict

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

_UNDECAYED_NAMES = ('relative_position_bias_table', 'absolute_pos_embed')


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


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OneFormerOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Builds one group for each pair of learning rate and weight decay.

    mmengine's default makes a group per parameter, which keeps foreach and fused optimizers from
    working on many tensors at once.

    ``paramwise_cfg`` takes ``backbone_lr_mult`` (0.1 in the original).
    """

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
