"""Load an image, and its labels of any kind as one small integer map."""

from collections.abc import Mapping

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from oneformer_runtime.depth import ValueRange

from ..images.notes import SayOnce, image_notes
from ..images.reading import load_image
from ..images.rules import ImageRules
from ..run_length import decode_mask, encode_mask, encode_segmentation
from .findings import ERROR, WARNING, Finding, OnFinding, refuse
from .label_images import Seen, check_size, read_label_png, read_panoptic_png
from .label_watch import LabelWatch
from .overlaps import MAX_SEGMENTS, TooManyRegions, paint_instances, topmost_map


@TRANSFORMS.register_module()
class LoadPhoto(BaseTransform):
    """Load the image of a sample, by the rules of its dataset where none are given here.

    Required key: ``img_path``. Added: ``img`` (BGR, uint8), ``img_shape`` and ``ori_shape``, both
    (height, width), ``exif_orientation`` of the file, and the ``image_rules``. What may have been
    meant in another way is logged, once of each kind.

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
        """Add the image; see ``load_image`` for what it raises."""
        path = results['img_path']
        rules = self.rules.over(results.get('image_rules'))
        loaded = load_image(path, 'image', rules)
        self.say(image_notes(loaded, path, rules, 'segments_info' in results))
        results['img'] = loaded.pixels
        results['img_shape'] = results['ori_shape'] = loaded.pixels.shape[:2]
        results['exif_orientation'] = loaded.orientation
        results['image_rules'] = rules
        return results

    def __repr__(self) -> str:
        options = ', '.join(f'{name}={rule!r}' for name, rule in self.rules.chosen().items())
        return f'{type(self).__name__}({options})'


def encode_instances(results: Mapping, report: OnFinding = refuse) -> list[Mapping]:
    """Compressed run-length codes of an ``InstanceDataset`` sample, of the size in the JSON.

    Segmentations that cannot be decoded are reported, and give an empty mask.
    """
    height, width = results['height'], results['width']
    codes = []
    for segment in results['segments_info']:
        try:
            codes.append(encode_segmentation(segment['segmentation'], height, width))
        except ValueError as error:
            message = (
                f'{results["ann_file"]}: annotation {segment["id"]} of image '
                f'{results["img_path"]}: {error}; correct the JSON'
            )
            report(Finding('wrong segmentation', message, results['ann_file'], segment['id']))
            codes.append(encode_mask(np.zeros((height, width), bool, order='F')))
    return codes


def decode_instances(results: Mapping, report: OnFinding = refuse) -> list[np.ndarray]:
    """Bool masks of an ``InstanceDataset`` sample, see ``encode_instances``."""
    return [decode_mask(code) for code in encode_instances(results, report)]


def _too_many_overlaps(results: Mapping) -> Finding:
    """The finding: an error where whole masks are taught, else a warning of a missing count."""
    full = results.get('overlaps', 'full') == 'full'
    what = (
        f'{results["ann_file"]}: the {len(results["segments_info"])} objects of image id '
        f'{results["img_id"]} ({results["img_path"]}) overlap in more ways than the '
        f'{MAX_SEGMENTS} that a map can number'
    )
    remedy = (
        ": cut the image, or teach each pixel to one object (overlaps='topmost' of the dataset)"
        if full
        else ', so that what they hide is not counted; nothing else suffers from it'
    )
    severity = ERROR if full else WARNING
    number = results['img_id']
    return Finding('too many overlaps', what + remedy, results['ann_file'], number, severity)


def read_instances(results: dict, report: OnFinding = refuse) -> np.ndarray:
    """Map of an ``InstanceDataset`` sample, see ``LoadSegmentMap`` and ``encode_instances``.

    Where objects overlap it is one of regions, and ``region_segments`` is added to the sample, see
    ``overlaps``. Overlaps of more kinds than the map can number are reported.
    """
    codes = encode_instances(results, report)
    try:
        region_map, region_segments = paint_instances(results, codes)
    except TooManyRegions:
        report(_too_many_overlaps(results))
        return paint_instances(results, codes, flat=True)[0]
    if region_segments is not None:
        results['region_segments'] = region_segments
    return region_map


def read_segment_map(results: dict, report: OnFinding = refuse, seen: Seen = None) -> np.ndarray:
    """Map of a sample of any kind of labels, see ``LoadSegmentMap``.

    Args:
        results: A sample with ``ori_shape``, the (height, width) of its image; ``region_segments``
            is added where objects overlap.
        report: Callback for each fault; a reported part is void in the map.
        seen: Callback for the label PNG of a ``SemanticDataset`` sample, and the sample.

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
    if results['labels_kind'] == 'instance':
        return read_instances(results, report)
    if results['labels_kind'] == 'panoptic':
        return read_panoptic_png(results, report)
    return read_label_png(results, report, seen)


@TRANSFORMS.register_module()
class LoadSegmentMap(BaseTransform):
    """Load the labels of a sample, of whatever kind its dataset has.

    Required keys: ``labels_kind``, ``segments_info``, ``ori_shape``, and those of its kind. Added:
    ``gt_seg_map`` of shape (H, W), int16: 0 is void, k is ``segments_info[k - 1]``. Transforms that
    know ``gt_seg_map`` move it with the image; pad it with 0.

    Where objects overlap and ``overlaps`` is ``'full'``, the map numbers regions, and
    ``region_segments`` lists the segments of each (see ``overlaps``); k is then a region on which
    ``segments_info[k - 1]`` is on top.
    """

    def __init__(self) -> None:
        self.watch = LabelWatch()

    def transform(self, results: dict) -> dict:
        """Add the map, if the sample has labels; faults of the labels are raised."""
        if 'segments_info' in results:  # an image of inference or of a test set has none
            segment_map = read_segment_map(results, seen=self.watch)
            if results.get('overlaps') == 'topmost':
                segment_map = topmost_map(segment_map, results.pop('region_segments', None))
            results['gt_seg_map'] = segment_map
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
