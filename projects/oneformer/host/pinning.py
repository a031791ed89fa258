"""Batches reach a GPU without a wait: from pinned memory, images and targets alike."""

import torch
from mmengine.config import Config
from mmengine.structures import BaseDataElement

_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def _pin_memory(self: BaseDataElement) -> BaseDataElement:
    """A copy whose tensors are pinned."""
    pinned = self.new()
    for name, value in self.items():
        if hasattr(value, 'pin_memory'):
            pinned.set_data({name: value.pin_memory()})
    return pinned


def pin_elements() -> None:
    """Give mmengine's data elements what torch's loaders pin by, where they lack it.

    Otherwise ``pin_memory=True`` leaves the targets as they are.
    """
    if not hasattr(BaseDataElement, 'pin_memory'):
        BaseDataElement.pin_memory = _pin_memory


def use_pinned_batches(cfg: Config) -> None:
    """With a GPU, let loaders pin their batches, and copies of these not wait for the GPU.

    What a config says itself counts: ``pin_memory`` of a loader, and ``non_blocking`` of the
    preprocessor.

    Args:
        cfg: Config of a run.
    """
    if not torch.cuda.is_available():
        return
    for name in _LOADERS:
        if isinstance(cfg.get(name), dict):
            cfg[name].setdefault('pin_memory', True)
    for holder in (cfg.get('model'), cfg):
        preprocessor = (holder or {}).get('data_preprocessor')
        if isinstance(preprocessor, dict) and 'DataPreprocessor' in str(preprocessor.get('type')):
            preprocessor.setdefault('non_blocking', True)
