"""``OneFormerVisualizer``: ground truth and predictions of the tasks side by side."""

import mmcv
import numpy as np
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.dist import master_only

from .painting import ALPHA, paint
from .panels import side_by_side
from .regions import PREDICTIONS, ground_truth_regions
from .shades import class_colors


@VISUALIZERS.register_module()
class OneFormerVisualizer(DetLocalVisualizer):
    """Draws a row of panels: the image, the ground truth, and each prediction that a sample has.

    The ground truth is that of the task, if only one was predicted, and else the panoptic one.

    Arguments are those of ``DetLocalVisualizer``.
    """

    def __init__(self, name: str = 'visualizer', alpha: float = ALPHA, **kwargs) -> None:
        super().__init__(name, alpha=alpha, **kwargs)
        self._row = None

    def get_image(self) -> np.ndarray:
        """The last picture of ``add_datasample``, or else that of other methods."""
        return super().get_image() if self._row is None else self._row

    @property
    def dataset_meta(self) -> dict:
        """Classes and colours; mmengine's has them in the main process only."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = 0.3,
        step: int = 0,
    ) -> None:
        """Draw a sample; called by ``DetVisualizationHook``.

        Args:
            name: Name of the picture for the backends.
            image: The image at the size of the predictions.
            data_sample: Sample with ``gt_panoptic_seg`` and ``segments_info``, and predictions.
            draw_gt: Whether to draw the ground truth, if the sample has it.
            draw_pred: Whether to draw predictions.
            show: Whether to open a window.
            wait_time: Seconds to show it.
            out_file: Path to write the picture to, in place of passing it to the backends.
            pred_score_thr: Score that instances must exceed to be drawn.
            step: Step of the picture for the backends.
        """
        row = self._row = self.draw_row(image, data_sample, draw_gt, draw_pred, pred_score_thr)
        if show:
            self.show(row, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(np.ascontiguousarray(row[..., ::-1]), out_file)
        else:
            self.add_image(name, row, step)

    def draw_row(
        self,
        image: np.ndarray,
        data_sample: DetDataSample,
        draw_gt: bool = True,
        draw_pred: bool = True,
        pred_score_thr: float = 0.3,
    ) -> np.ndarray:
        """The row of panels of ``add_datasample``, in any process."""
        classes = self.dataset_meta['classes']
        colors = class_colors(len(classes), self.dataset_meta.get('palette'))
        regions = []
        predicted = [task for task, (field, _) in PREDICTIONS.items() if field in data_sample]
        if draw_gt and 'gt_panoptic_seg' in data_sample:
            task = predicted[0] if len(predicted) == 1 else 'panoptic'
            regions.append(ground_truth_regions(data_sample, classes, task))
        if draw_pred:
            for task in predicted:
                to_regions = PREDICTIONS[task][1]
                regions.append(to_regions(data_sample.cpu(), classes, pred_score_thr))
        painted = [
            paint(image, region, colors, self.alpha, classes, region.title) for region in regions
        ]
        return side_by_side([image, *painted])
