"""The original's multi-scale and flip evaluation of the semantic task.

Shapes: K classes, H x W the image, h x w the image as the test pipeline has resized it.
"""

from collections.abc import Iterator

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData
from torch import Tensor

from ..datasets.geometry import ResizeShortEdge
from . import fusion
from .oneformer import OneFormer


@MODELS.register_module()
class OneFormerTTA(OneFormer):
    """A OneFormer that labels an image by the mean class scores of several views of it.

    The views are made one at a time and their scores added up at the size of the image, so that the
    memory does not depend on their number. As in the original they are resized from the image that
    the test pipeline has already resized.

    Args:
        *args: Of ``OneFormer``.
        tta: ``short_edges`` (lengths in pixels, a view each), ``max_size`` (limit of the long edge
            in pixels) and ``flip`` (whether each view is also shown mirrored).
        **kwargs: Of ``OneFormer``; ``test_cfg.tasks`` must be the semantic one.

    Raises:
        ValueError: For other tasks, whose predictions cannot be added up.
    """

    def __init__(self, *args, tta: dict, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if tuple(self.test_cfg['tasks']) != ('semantic',):
            raise ValueError(
                f'test-time augmentation is for the semantic task, not {self.test_cfg["tasks"]}'
            )
        self.resizes = [ResizeShortEdge([edge], tta['max_size']) for edge in tta['short_edges']]
        self.flips = (False, True) if tta['flip'] else (False,)

    def test_step(self, data: dict) -> list[DetDataSample]:
        """Predict a batch of images, one after the other.

        Args:
            data: ``inputs`` (BGR images of shape (3, h, w), uint8) and ``data_samples``.

        Returns:
            The samples with ``pred_sem_seg``.
        """
        for image, sample in zip(data['inputs'], data['data_samples']):
            scores = torch.zeros(self.num_classes, *sample.ori_shape, device=self.is_thing.device)
            for view, flipped in self._views(image):
                view_sample = DetDataSample(
                    metainfo=dict(
                        ori_shape=sample.ori_shape, img_shape=view.shape[1:], flip=flipped
                    )
                )
                view_sample.class_scores = scores
                super().test_step(dict(inputs=[view], data_samples=[view_sample]))
            sample.pred_sem_seg = PixelData(sem_seg=scores.argmax(0)[None])
        return data['data_samples']

    def _views(self, image: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """Views of an image (3, h, w), and whether they are mirrored."""
        image = image.permute(1, 2, 0).numpy()
        for resize in self.resizes:
            resized = resize.transform(dict(img=image))['img']
            for flipped in self.flips:
                view = resized[:, ::-1] if flipped else resized
                view = np.ascontiguousarray(view.transpose(2, 0, 1))
                yield torch.from_numpy(view), flipped

    def _predict_semantic(self, sample: DetDataSample, queries, resize) -> None:
        fusion.add_class_scores(sample.class_scores, queries, resize, sample.flip)
