"""Models without memory for their values, and tensors that follow from their shapes alone."""

import math
from collections.abc import Mapping

import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .architecture import num_classes_of
from .backbone_names import ENCODER
from .rules import rebuilt_by_us
from .shapes import Shapes


class _NumbersOnCpu(TorchFunctionMode):
    """Backbones read their drop path rates from a tensor, which needs values."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs['device'] = 'cpu'
        return func(*args, **kwargs)


def meta_model(model: Mapping) -> nn.Module:
    """Build a model config on the meta device."""
    with DefaultScope.overwrite_default_scope('mmdet'), torch.device('meta'), _NumbersOnCpu():
        return MODELS.build(ConfigDict(model))


def _window_index(window: int) -> Tensor:
    """Swin's ``relative_position_index`` of shape (window ** 2, window ** 2), int64.

    Entry (a, b) is the row of the bias table for pixel b as seen from pixel a.
    """
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing='ij')
    rows, columns = rows.flatten(), columns.flatten()
    down = rows[:, None] - rows + window - 1
    right = columns[:, None] - columns + window - 1
    return down * (2 * window - 1) + right


def rebuilt(shapes: Shapes, layout: str) -> dict[str, Tensor]:
    """What a model of a layout may have beside tensors that weights hold, by the names of it.

    Args:
        shapes: Shape of each of our tensors, by name.
        layout: A key of ``names.LAYOUTS``, or ``'plugin'``.
    """
    indices = {
        key: _window_index(math.isqrt(shape[0]))
        for key, shape in shapes.items()
        if key.endswith('.relative_position_index')
    }
    if layout == 'plugin':
        others = {key: shape for key, shape in shapes.items() if rebuilt_by_us(key)}
        counters = {key: torch.zeros(shape, dtype=torch.int64) for key, shape in others.items()}
        return counters | indices
    weights = torch.ones(num_classes_of(shapes) + 1)
    weights[-1] = 0.1
    if layout == 'huggingface-eomt':
        return {'criterion.empty_weight': weights}
    if layout == 'eomt':
        statistics = dict(pixel_mean=(0.485, 0.456, 0.406), pixel_std=(0.229, 0.224, 0.225))
        return {
            'criterion.empty_weight': weights,
            **{
                f'network.encoder.{name}': torch.tensor(values).view(1, 3, 1, 1)
                for name, values in statistics.items()
            },
        }
    tensors = {
        'criterion.empty_weight': weights,
        # the temperature before training
        'criterion.logit_scale': torch.tensor(math.log(1 / 0.07)),
    }
    if layout == 'huggingface' and indices:  # Swin's norm of what the model does not use
        channels = shapes['backbone.norm3.weight'][0]
        tensors[f'{ENCODER}swin.layernorm.weight'] = torch.ones(channels)
        tensors[f'{ENCODER}swin.layernorm.bias'] = torch.zeros(channels)
    if layout == 'shi-labs':
        for key, index in indices.items():
            tensors[key.replace('.stages.', '.layers.').replace('.w_msa.', '.')] = index
    return tensors
