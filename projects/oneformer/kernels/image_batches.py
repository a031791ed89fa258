"""A batch of images as the network takes it, brought to a GPU without waiting for it."""

from collections.abc import Sequence
from typing import Any

from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.nn import functional as F

from ..host.transfers import send


@MODELS.register_module()
class OneFormerDataPreprocessor(DetDataPreprocessor):
    """mmdet's preprocessor, with the same results.

    mmengine's copies of images and targets wait for all work queued on the GPU, also with its
    ``non_blocking`` unless their memory is pinned; so does its exchange of the colour channels,
    whose indices it copies for each image.

    Args:
        *args: Arguments of ``DetDataPreprocessor``.
        pads_black: Whether images are padded before they are normalised, as EoMT does it, so that
            padding is black and not of the mean colour.
        **kwargs: Arguments of ``DetDataPreprocessor``.
    """

    _channel_conversion: bool  # mmengine's

    def __init__(self, *args, pads_black: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.pads_black = pads_black
        self.exchanges_channels = self._channel_conversion
        self._channel_conversion = False  # of the parent, which does it by indices

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move, normalise, pad and stack a batch.

        Args:
            data: ``inputs``, images (3, h, w) of 0 to 255, or a batch (B, 3, h, w) of them, and
                ``data_samples``, or None in their place.
            training: Whether to apply augmentations of the batch.

        Returns:
            The same with ``inputs`` of shape (B, 3, H, W) on the model's device.
        """
        if self.exchanges_channels:
            inputs = self.cast_data(data['inputs'])
            is_batch = isinstance(inputs, Tensor)
            flipped = inputs.flip(1) if is_batch else [image.flip(0) for image in inputs]
            data = {**data, 'inputs': flipped}
        if self.pads_black and not isinstance(data['inputs'], Tensor):
            data = {**data, 'inputs': self._padded(self.cast_data(data['inputs']))}
        return super().forward(data, training)

    def _padded(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Images (3, h, w) at the size of the batch, black to the right and below."""
        divisor = self.pad_size_divisor
        sides = zip(*(image.shape[1:] for image in images))
        height, width = (-(-max(lengths) // divisor) * divisor for lengths in sides)
        return [
            F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1]))
            for image in images
        ]

    def cast_data(self, data: Any) -> Any:
        """Move tensors, and those of samples, in nested containers to the model's device."""
        if isinstance(data, Tensor):
            return send(data, self.device)
        if isinstance(data, BaseDataElement) and self.device.type == 'cuda':
            moved = data.new()
            for name, value in data.items():
                if isinstance(value, Tensor | BaseDataElement):
                    moved.set_data({name: self.cast_data(value)})
                elif hasattr(value, 'to'):  # boxes of mmdet
                    moved.set_data({name: value.to(self.device)})
            return moved
        return super().cast_data(data)
