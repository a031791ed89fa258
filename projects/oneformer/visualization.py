"""Draw ground truth and the answers of the tasks side by side.

Every answer is first brought to one form, a map of numbered regions with a label each, which one
function paints. All images are RGB, uint8, of shape (H, W, 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import mmcv
import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.dist import master_only

from .panoptic_codes import segment_ids

_GAP = 6  # pixels between panels
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_HATCHING = ((0, 0), (2, 255))  # two of four stripes, to be seen on any photo


@dataclass
class Regions:
    """Regions of an image.

    Attributes:
        title: Of the panel.
        region_map: Of shape (H, W): 0 is void, k is region k, -1 is unknown.
        labels: Of the regions, in their order.
        captions: Text for each region, may be empty.
        outline_map: Of shape (H, W): where these numbers change there are outlines; those of
            ``region_map`` by default.
    """

    title: str
    region_map: np.ndarray
    labels: Sequence[int]
    captions: Sequence[str]
    outline_map: np.ndarray | None = None


def ground_truth_regions(sample: DetDataSample, classes: Sequence[str], task: str) -> Regions:
    """What the annotation says of a task; crowds are shown, and marked.

    Args:
        sample: With ``gt_panoptic_seg`` and ``segments_info``.
        classes: Names of the classes.
        task: A task word: all segments, those of things, or one region per class.
    """
    segments = sample.segments_info
    segment_map = sample.gt_panoptic_seg.sem_seg[0].cpu().numpy()
    if task == 'semantic':
        label_of = np.array([0] + [segment['label'] + 1 for segment in segments])
        return Regions('ground truth', label_of[segment_map], range(len(classes)), classes)
    if task == 'instance':
        is_thing = np.array([False] + [segment['isthing'] for segment in segments])
        segment_map = np.where(is_thing[segment_map], segment_map, 0)
    captions = [s['category'] + (' (crowd)' if s['iscrowd'] else '') for s in segments]
    return Regions('ground truth', segment_map, [s['label'] for s in segments], captions)


def panoptic_regions(sample: DetDataSample, classes: Sequence[str], score_thr: float) -> Regions:
    """Segments of the panoptic answer."""
    pred_map = sample.pred_panoptic_seg.sem_seg[0].cpu().numpy()
    region_map, codes, _ = segment_ids(pred_map, len(classes))
    labels = (codes % INSTANCE_OFFSET).tolist()
    return Regions('panoptic', region_map, labels, [classes[label] for label in labels])


def instance_regions(sample: DetDataSample, classes: Sequence[str], score_thr: float) -> Regions:
    """Instances above ``score_thr``; where they overlap the best is on top."""
    instances = sample.pred_instances
    kept = instances.scores > score_thr
    instances = instances[kept][instances.scores[kept].argsort()]
    masks = instances.masks.cpu().numpy()
    region_map = np.zeros(masks.shape[1:], np.int32)
    for number, mask in enumerate(masks, start=1):
        region_map[mask] = number
    labels, scores = instances.labels.tolist(), instances.scores.tolist()
    captions = [f'{classes[label]} {score:.2f}' for label, score in zip(labels, scores)]
    return Regions('instance', region_map, labels, captions)


def semantic_regions(sample: DetDataSample, classes: Sequence[str], score_thr: float) -> Regions:
    """One region per class."""
    region_map = sample.pred_sem_seg.sem_seg[0].cpu().numpy() + 1
    return Regions('semantic', region_map, range(len(classes)), classes)


_ANSWERS = dict(
    panoptic=('pred_panoptic_seg', panoptic_regions),
    instance=('pred_instances', instance_regions),
    semantic=('pred_sem_seg', semantic_regions),
)


def class_colors(num_classes: int, palette: Sequence | None) -> np.ndarray:
    """Colours of the classes: the data set's, or evenly spread hues; uint8, (K, 3)."""
    if palette is not None and len(palette) == num_classes:
        return np.array(palette, np.uint8)
    hues = np.arange(num_classes) * 180 * 0.618 % 180
    hsv = np.stack([hues, np.full(num_classes, 170), np.full(num_classes, 230)], 1)
    return cv2.cvtColor(hsv[None].astype(np.uint8), cv2.COLOR_HSV2RGB)[0]


def paint(image: np.ndarray, regions: Regions, colors: np.ndarray, alpha: float) -> np.ndarray:
    """Blend regions into a copy of the image, outline and name them.

    Regions of one label differ a little in colour. Void stays as it is, the unknown is hatched.

    Args:
        image: The photo.
        regions: Of the same size.
        colors: Of the classes, (K, 3).
        alpha: Opacity in [0, 1].
    """
    lookup = np.zeros((len(regions.labels) + 1, 3))
    for number, label in enumerate(regions.labels, start=1):
        jitter = np.random.default_rng(number).integers(-24, 25, 3)
        lookup[number] = (colors[label].astype(int) + jitter).clip(0, 255)
    painted = image * (1 - alpha) + lookup[regions.region_map] * alpha
    painted = np.where(regions.region_map[..., None] > 0, painted, image).astype(np.uint8)
    stripe = np.add(*np.indices(regions.region_map.shape)) // 2 % 4
    for number, grey in _HATCHING:
        painted[(regions.region_map < 0) & (stripe == number)] = grey
    outlined = regions.region_map if regions.outline_map is None else regions.outline_map
    numbers = outlined.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    painted[cv2.dilate(numbers, kernel) != cv2.erode(numbers, kernel)] = 255
    scale = max(0.3, min(image.shape[:2]) / 800)
    for number, caption in enumerate(regions.captions, start=1):
        inside = (regions.region_map == number).astype(np.uint8)
        if not inside.any():
            continue
        # the point farthest from the border
        _, _, _, (x, y) = cv2.minMaxLoc(cv2.distanceTransform(np.pad(inside, 1), cv2.DIST_L2, 3))
        _write(painted, caption, (x - 1, y - 1), scale, centred=True)
    return painted


def side_by_side(panels: Sequence[np.ndarray]) -> np.ndarray:
    """A row of panels of one height, with white gaps."""
    gap = np.full((len(panels[0]), _GAP, 3), 255, np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def text_below(panels: Sequence[np.ndarray], texts: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Panels with lines of text below, black on white; lines are wrapped, heights made equal."""
    scale = max(0.4, panels[0].shape[1] / 1280)
    line_height = round(40 * scale)
    wrapped = [
        [part for line in lines for part in _wrap(line, panel.shape[1], scale)]
        for panel, lines in zip(panels, texts)
    ]
    height = (max(map(len, wrapped)) + 1) * line_height
    captioned = []
    for panel, lines in zip(panels, wrapped):
        strip = np.full((height, panel.shape[1], 3), 255, np.uint8)
        for number, line in enumerate(lines, start=1):
            position = (2, number * line_height)
            cv2.putText(strip, line, position, _FONT, scale, (0, 0, 0), 1, cv2.LINE_AA)
        captioned.append(np.concatenate([panel, strip]))
    return captioned


def _wrap(line: str, width: int, scale: float) -> list[str]:
    """Break a line between words where it would be wider than ``width`` pixels."""
    lines = ['']
    for word in line.split():
        longer = f'{lines[-1]} {word}'.lstrip()
        if lines[-1] and cv2.getTextSize(longer, _FONT, scale, 1)[0][0] > width - 4:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def write_title(panel: np.ndarray, title: str) -> None:
    """Write a title into the top left corner of a panel."""
    _write(panel, title, (4, 0), max(0.4, min(panel.shape[:2]) / 640))


def _write(image, text: str, position: tuple[int, int], scale: float, centred=False) -> None:
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    x, y = position
    if centred:
        x, y = x - width // 2, y + height // 2
    x = int(np.clip(x, 0, max(image.shape[1] - width, 0)))
    y = int(np.clip(y, height, image.shape[0] - 1))
    for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(image, text, (x, y), _FONT, scale, color, thickness, cv2.LINE_AA)


@VISUALIZERS.register_module()
class OneFormerVisualizer(DetLocalVisualizer):
    """Draws a row of panels: the photo, the ground truth, and each answer that a sample has.

    The ground truth is that of the task, if only one was answered, and else the panoptic one.

    Arguments are those of ``DetLocalVisualizer``.
    """

    def __init__(self, name: str = 'visualizer', alpha: float = 0.55, **kwargs) -> None:
        super().__init__(name, alpha=alpha, **kwargs)
        self._row = None

    def get_image(self) -> np.ndarray:
        """The last picture of ``add_datasample``, or else what other methods have drawn."""
        return super().get_image() if self._row is None else self._row

    @property
    def dataset_meta(self) -> dict | None:
        """Classes and colours; mmengine's has them in the main process only."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta

    def draw_answer(
        self, image: np.ndarray, data_sample: DetDataSample, task: str, pred_score_thr: float = 0.0
    ) -> np.ndarray:
        """Paint one answer over the photo.

        Args:
            image: The photo at the size of the answers.
            data_sample: With the answer.
            task: A task word.
            pred_score_thr: Instances that do not score above are not drawn.
        """
        classes = self.dataset_meta['classes']
        colors = class_colors(len(classes), self.dataset_meta.get('palette'))
        regions = _ANSWERS[task][1](data_sample.cpu(), classes, pred_score_thr)
        return paint(image, regions, colors, self.alpha)

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
        """Draw a sample, as ``DetVisualizationHook`` asks for it.

        Args:
            name: Of the picture for the backends.
            image: The photo at the size of the answers.
            data_sample: With ``gt_panoptic_seg`` and ``segments_info``, and predictions.
            draw_gt: Whether to draw the ground truth, if the sample has it.
            draw_pred: Whether to draw predictions.
            show: Open a window.
            wait_time: Seconds to show it.
            out_file: Write the picture here in place of giving it to the backends.
            pred_score_thr: Instances below are not drawn.
            step: Of the backends.
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
        answered = [task for task, (field, _) in _ANSWERS.items() if field in data_sample]
        if draw_gt and 'gt_panoptic_seg' in data_sample:
            task = answered[0] if len(answered) == 1 else 'panoptic'
            regions.append(ground_truth_regions(data_sample, classes, task))
        if draw_pred:
            for task in answered:
                to_regions = _ANSWERS[task][1]
                regions.append(to_regions(data_sample.cpu(), classes, pred_score_thr))
        panels = [image] + [paint(image, region, colors, self.alpha) for region in regions]
        for panel, title in zip(panels[1:], regions):
            write_title(panel, title.title)
        return side_by_side(panels)
