"""The original's multi-scale and flip evaluation of the semantic task.

Shapes: K classes, H x W the image, h x w the image as the test pipeline has resized it.
"""

from collections.abc import Iterator

import numpy as np
import torch
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData
from torch import Tensor

from ..kernels.mask_resize import MaskResize
from ..kernels.precision import exact_float32
from . import fusion
from .oneformer import OneFormer


@MODELS.register_module()
class OneFormerTTA(OneFormer):
    """A OneFormer that labels an image by the mean class scores of several views of it.

    The views are made one at a time and their scores added up at the size of the image, so that the
    memory does not depend on their number. As in the original they are resized from the image that
    the test pipeline has already resized.

    Args:
        *args: Arguments of ``OneFormer``.
        tta: ``short_edges`` (lengths in pixels, a view each), ``max_size`` (limit of the long edge
            in pixels) and ``flip`` (whether each view is also shown mirrored).
        **kwargs: Arguments of ``OneFormer``; ``test_cfg.tasks`` must be the semantic one.

    Raises:
        ValueError: For other tasks, whose predictions cannot be added up.
    """

    def __init__(self, *args, tta: dict, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if tuple(self.test_cfg['tasks']) != ('semantic',):
            raise ValueError(
                f'test-time augmentation is for the semantic task, not {self.test_cfg["tasks"]}'
            )
        resize = dict(type='ResizeShortEdge', max_size=tta['max_size'])
        self.resizes = [
            TRANSFORMS.build(dict(resize, short_edges=[edge])) for edge in tta['short_edges']
        ]
        self.flips = (False, True) if tta['flip'] else (False,)

    def test_step(self, data: dict) -> list[DetDataSample]:
        """Label a batch of images, one after the other.

        Args:
            data: ``inputs`` (BGR images of shape (3, h, w), uint8) and ``data_samples``.

        Returns:
            The samples with ``pred_sem_seg``.
        """
        for image, sample in zip(data['inputs'], data['data_samples']):
            scores = torch.zeros(self.num_classes, *sample.ori_shape, device=self.is_thing.device)
            for view, flipped in self._views(image):
                self._add_view(scores, view, flipped)
            sample.pred_sem_seg = PixelData(sem_seg=scores.argmax(0)[None])
        return data['data_samples']

    def _add_view(self, scores: Tensor, view: Tensor, flipped: bool) -> None:
        """Add the class scores of a view (3, h, w) to those (K, H, W) of others, in place."""
        sample = DetDataSample(metainfo=dict(img_shape=view.shape[1:]))
        data = self.data_preprocessor(dict(inputs=[view], data_samples=[sample]), False)
        inputs, (word,) = data['inputs'], self.task_words().values()
        outputs = self.network_outputs(inputs, data['data_samples'])
        with exact_float32(inputs.device):
            resize = MaskResize(
                outputs.grid, inputs.shape[-2:], view.shape[1:], scores.shape[1:], inputs.device
            )
            fusion.add_class_scores(scores, outputs.of_image(0, word), resize, flipped)

    def _views(self, image: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """Views of an image (3, h, w), and whether they are mirrored."""
        image = image.permute(1, 2, 0).numpy()
        for resize in self.resizes:
            resized = resize.transform(dict(img=image))['img']
            for flipped in self.flips:
                view = resized[:, ::-1] if flipped else resized
                view = np.ascontiguousarray(view.transpose(2, 0, 1))
                yield torch.from_numpy(view), flipped
