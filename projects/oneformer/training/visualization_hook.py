"""Pictures of ground truth and predictions while a model is validated and tested."""

import os.path as osp
from collections.abc import Sequence

import cv2
import numpy as np
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.runner import Runner

from ..evaluation.data_sample import image_name
from ..host.safe_io import write_bytes
from ..images.reading import load_image
from ..images.rules import DEFAULT

_WRITTEN = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def picture_name(name: str) -> str:
    """What the picture of an image is called: as the image, if pictures of its kind are written."""
    return name if osp.splitext(name)[1].lower() in _WRITTEN else f'{name}.png'


@HOOKS.register_module()
class OneFormerVisualizationHook(DetVisualizationHook):
    """mmdet's hook, with its options, for images in sub-folders and for several processes.

    A picture has the name of its image below the folder of the images, so ``cam0/0001.jpg`` and
    ``cam1/0001.jpg`` are two pictures in two folders. Each process draws its own images.

    Args are those of ``DetVisualizationHook``; a relative ``test_out_dir`` is taken below the
    folder of the run.
    """

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DetDataSample]
    ) -> None:
        """Give the first image of a batch to the backends, every ``interval`` iterations."""
        step = runner.iter + batch_idx
        if not self.draw or step % self.interval:
            return
        self._visualizer = runner.visualizer
        self._give(outputs[0], 'val_img', step)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DetDataSample]
    ) -> None:
        """Write the pictures of a batch to ``test_out_dir``, or give them to the backends."""
        if not self.draw:
            return
        self._visualizer = runner.visualizer  # mmdet's is the last that any run has built
        for sample in outputs:
            self._test_index += 1
            if self.test_out_dir is not None:
                self._write(sample, osp.join(runner.work_dir, runner.timestamp, self.test_out_dir))
            if self.test_out_dir is None or self.show:
                self._give(sample, 'test_img', self._test_index)

    def _give(self, sample: DetDataSample, name: str, step: int) -> None:
        """Show the picture of a sample in a window, or give it to the backends."""
        self._visualizer.add_datasample(
            image_name(sample.metainfo) if self.show else name,
            self._read(sample),
            data_sample=sample,
            show=self.show,
            wait_time=self.wait_time,
            pred_score_thr=self.score_thr,
            step=step,
        )

    def _write(self, sample: DetDataSample, folder: str) -> None:
        """Write the picture of a sample below a folder."""
        row = self._visualizer.draw_row(self._read(sample), sample, pred_score_thr=self.score_thr)
        name = picture_name(image_name(sample.metainfo))
        ok, data = cv2.imencode(osp.splitext(name)[1], np.ascontiguousarray(row[..., ::-1]))
        if not ok:
            raise OSError(f'OpenCV cannot write the picture {osp.join(folder, name)}')
        write_bytes(osp.join(folder, name), data.tobytes())

    def _read(self, sample: DetDataSample) -> np.ndarray:
        """The image of a sample as the model saw it: RGB, uint8, of shape (H, W, 3)."""
        rules = sample.get('image_rules') or DEFAULT
        return load_image(sample.img_path, 'image', rules).pixels[..., ::-1]
