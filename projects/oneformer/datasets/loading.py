"""Load a photo, and its labels of any kind as one small integer map."""

from collections.abc import Mapping, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from ..image_depth import ValueRange
from ..image_loading import load_image
from ..image_notes import SayOnce, image_notes
from ..image_rules import ImageRules
from ..run_length import decode_mask, encode_segmentation
from .findings import Finding, Report, refuse
from .label_images import check_size, read_label_png, read_panoptic_png

MAX_SEGMENTS = np.iinfo(np.int16).max  # of a photo, as maps of segments are int16


@TRANSFORMS.register_module()
class LoadPhoto(BaseTransform):
    """Load the photo of a sample, by the rules of its dataset where none are given here.

    Required key: ``img_path``. Added: ``img`` (BGR, uint8), ``img_shape`` and ``ori_shape``, both
    (height, width), ``exif_orientation`` of the file, and the ``image_rules``. What may have been
    meant otherwise is logged, once of each kind.

    Args:
        orientation: See ``ImageRules``.
        value_range: See ``ImageRules``.
    """

    def __init__(
        self, orientation: str | None = None, value_range: ValueRange | None = None
    ) -> None:
        self.rules = ImageRules(orientation, value_range)
        self.say = SayOnce()

    def transform(self, results: dict) -> dict:
        """Add the photo; see ``load_image`` for what it raises."""
        path = results['img_path']
        rules = self.rules.over(results.get('image_rules'))
        loaded = load_image(path, 'photo', rules)
        self.say(image_notes(loaded, path, rules, 'segments_info' in results))
        results['img'] = loaded.pixels
        results['img_shape'] = results['ori_shape'] = loaded.pixels.shape[:2]
        results['exif_orientation'] = loaded.orientation
        results['image_rules'] = rules
        return results

    def __repr__(self) -> str:
        options = ', '.join(f'{name}={rule!r}' for name, rule in self.rules.chosen().items())
        return f'{type(self).__name__}({options})'


def decode_instances(results: Mapping, report: Report = refuse) -> list[np.ndarray]:
    """Masks of an ``InstanceDataset`` sample at the size that the JSON states.

    Segmentations that cannot be decoded are reported, and make an empty mask.
    """
    height, width = results['height'], results['width']
    masks = []
    for segment in results['segments_info']:
        try:
            code = encode_segmentation(segment['segmentation'], height, width)
            masks.append(decode_mask(code))
        except ValueError as error:
            report(
                Finding(
                    'wrong segmentation',
                    f'{results["ann_file"]}: annotation {segment["id"]} of photo '
                    f'{results["img_path"]}: {error}; correct the JSON',
                    results['ann_file'],
                    segment['id'],
                )
            )
            masks.append(np.zeros((height, width), bool, order='F'))
    return masks


def paint_instances(results: Mapping, masks: Sequence[np.ndarray]) -> np.ndarray:
    """Segment map of an ``InstanceDataset`` sample and its masks, see ``LoadSegmentMap``.

    Where masks overlap the smaller one is on top, and crowds lie below.
    """
    areas = [np.count_nonzero(mask) for mask in masks]
    crowd = [segment['iscrowd'] for segment in results['segments_info']]
    # in Fortran order, as pycocotools has its masks
    segment_map = np.zeros((results['height'], results['width']), np.int16, order='F')
    for k in sorted(range(len(masks)), key=lambda k: (not crowd[k], -areas[k])):
        segment_map[masks[k]] = k + 1
    return np.ascontiguousarray(segment_map)


def read_instances(results: Mapping, report: Report = refuse) -> np.ndarray:
    """Segment map of an ``InstanceDataset`` sample; see ``decode_instances`` for its reports."""
    return paint_instances(results, decode_instances(results, report))


_READERS = dict(panoptic=read_panoptic_png, instance=read_instances, semantic=read_label_png)


def read_segment_map(results: Mapping, report: Report = refuse) -> np.ndarray:
    """Segment map of a sample of any kind of labels, see ``LoadSegmentMap``.

    Args:
        results: A sample with ``ori_shape``, the (height, width) of its photo.
        report: Gets what is wrong; what was reported is void in the map.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file cannot be decoded.
    """
    if 'height' in results:
        size = results['height'], results['width']
        what = f'{results["ann_file"]}: image id {results["img_id"]}'
        check_size(size, what, results['ann_file'], results, report)
        if results['labels_kind'] == 'instance' and size != tuple(results['ori_shape']):
            return np.zeros(results['ori_shape'], np.int16)  # masks of a wrong size may be huge
    return _READERS[results['labels_kind']](results, report)


@TRANSFORMS.register_module()
class LoadSegmentMap(BaseTransform):
    """Load the labels of a sample, of whatever kind its data set has.

    Required keys: ``labels_kind``, ``segments_info``, ``ori_shape``, and those of its kind. Added:
    ``gt_seg_map`` of shape (H, W), int16: 0 is void, k is ``segments_info[k - 1]``. Transforms that
    know ``gt_seg_map`` move it with the photo; pad it with 0.
    """

    def transform(self, results: dict) -> dict:
        """Add the map, if the sample has labels; what is wrong with them is raised."""
        if 'segments_info' in results:  # a photo of inference or of a test set has none
            results['gt_seg_map'] = read_segment_map(results)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
