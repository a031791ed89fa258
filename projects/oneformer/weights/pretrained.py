"""Backbones start from ImageNet weights, in the formats in which people have them."""

import logging

from mmengine.logging import print_log
from mmengine.model import BaseModule, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor

from ..checkpoints.files import read_checkpoint
from ..conversion.architecture import shapes_of
from ..conversion.backbones import fit_backbone, translate_backbone
from ..host.errors import CheckpointError, key_list
from .sources import delete_hint, local_path

_REMEDY = (
    'Start from another file by --cfg-options model.backbone.init_cfg.checkpoint=FILE, or from '
    'random weights by --cfg-options model.backbone.init_cfg=None'
)


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Load a backbone from a file of it, or of a model that has it, whoever made it.

    Recognised by their names are ResNet (torchvision, detectron2, OpenMMLab, timm), Swin
    (Microsoft, timm, OpenMMLab, Hugging Face), ConvNeXt (Facebook, timm, OpenMMLab, Hugging Face),
    DiNAT (SHI-Labs, Hugging Face), and a whole OneFormer with one of them.

    Unlike mmengine's ``Pretrained`` it runs no pickle, and every tensor is accounted for: only
    output norms may be missing, which start fresh, and only a classifier may be left. Bias tables
    of Swin for another window are interpolated.

    Args:
        checkpoint: File, folder of Hugging Face, or URL, which is downloaded once.
        trust_pickle: Load pickles of more than tensors, such as detectron2's, which may run any
            code.

    Raises:
        CheckpointError: When called, if the file cannot be had, or with the names of what does not
            fit.
    """

    def __init__(self, checkpoint: str, trust_pickle: bool = False) -> None:
        self.checkpoint = checkpoint
        self.trust_pickle = trust_pickle

    def _read(self) -> dict[str, Tensor]:
        path = local_path(self.checkpoint)
        try:
            return read_checkpoint(path, self.trust_pickle).tensors
        except CheckpointError as error:
            raise CheckpointError(f'{error}{delete_hint(self.checkpoint, path)}') from error

    def __call__(self, module: BaseModule) -> None:
        try:
            weights = translate_backbone(self._read())
            fitted = fit_backbone(weights, shapes_of(module.state_dict()))
        except (CheckpointError, OSError) as error:
            name = type(module).__name__
            raise CheckpointError(
                f'{self.checkpoint} cannot be loaded into {name}: {error}. {_REMEDY}'
            ) from error
        module.load_state_dict(fitted.tensors, strict=False)
        for child in module.modules():
            if isinstance(child, BaseModule) and child is not module:
                child.is_init = True  # or it would initialise itself once more, at random
        lines = [
            f'{type(module).__name__}: {len(fitted.tensors)} tensors from {self.checkpoint} '
            f'({weights.name})',
            key_list('not used', weights.left_out + fitted.unused),
            key_list('initialised afresh', fitted.fresh),
            key_list('interpolated for another window', fitted.resized),
        ]
        print_log('\n'.join(filter(None, lines)), logger='current', level=logging.INFO)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'PretrainedBackbone: {self.checkpoint}')
