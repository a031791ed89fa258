"""Load a photo, and its labels of any kind as one small integer map."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from ..image_files import decode_image, load_image, load_label_png, read_file
from ..run_length import decode_mask, encode_segmentation
from .findings import Finding, Report, refuse

NUM_IDS = 1 << 24  # of three bytes
MAX_SEGMENTS = np.iinfo(np.int16).max  # of a photo, as maps of segments are int16
_PNG = b'\x89PNG\r\n\x1a\n'
# bits and colour type in the header: RGB, RGBA, and palettes of up to 8 bits
_COLOR_PNGS = (b'\x08\x02', b'\x08\x06', *(bytes([bits, 3]) for bits in (1, 2, 4, 8)))
_index_of_id = None  # one table per process, cleaned after each use


@TRANSFORMS.register_module()
class LoadPhoto(BaseTransform):
    """Load the photo of a sample.

    Required key: ``img_path``. Added: ``img`` (BGR, uint8), ``img_shape`` and ``ori_shape``, both
    (height, width).
    """

    def transform(self, results: dict) -> dict:
        """Add the photo; see ``load_image`` for what it raises."""
        path = results['img_path']
        results['img'] = load_image(path, 'photo')
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def segment_indices(
    png: np.ndarray, ids: Sequence[int], void_ids: Sequence[int] = ()
) -> np.ndarray:
    """Replace segment ids by their position.

    Args:
        png: A panoptic PNG as OpenCV decodes it, blue first, uint8 of shape (H, W, 3). The id of a
            pixel is R + 256 G + 65536 B, and 0 is void.
        ids: The annotated ids.
        void_ids: Ids to take for void.

    Returns:
        Of shape (H, W), int16: k for ``ids[k - 1]``, 0 for void, -1 for an id in neither.
    """
    global _index_of_id
    if _index_of_id is None:
        _index_of_id = np.full(NUM_IDS, -1, np.int16)
        _index_of_id[0] = 0
    # four bytes R, G, B, 255 are a number: ten times faster than shifts and sums
    id_map = cv2.cvtColor(png, cv2.COLOR_BGR2RGBA).view('<i4')[..., 0] & 0xFFFFFF
    used = [*void_ids, *ids]
    _index_of_id[used] = [0] * len(void_ids) + list(range(1, len(ids) + 1))
    try:
        return _index_of_id[id_map]
    finally:
        _index_of_id[used] = -1


def check_size(
    size: tuple[int, int], what: str, file: str, results: Mapping, report: Report
) -> None:
    """Report labels of another (height, width) than the photo has."""
    if tuple(size) != tuple(results['ori_shape']):
        report(
            Finding(
                'sizes differ',
                f'{what} has (height, width) {tuple(size)}, but photo {results["img_path"]} has '
                f'{tuple(results["ori_shape"])}: they do not belong together',
                file,
                results['img_id'],
            )
        )


def _count_values(values: np.ndarray, what: str) -> tuple[int, str]:
    """The smallest of some values of pixels, and how many pixels have it and the others."""
    found, counts = np.unique(values, return_counts=True)
    text = f'{counts[0]} pixels of {what} {found[0]}'
    if len(found) > 1:
        some = ', '.join(map(str, found[1:6])) + (', ...' if len(found) > 6 else '')
        text += f' and {counts[1:].sum()} pixels of {len(found) - 1} others ({some})'
    return int(found[0]), text


def read_panoptic_png(results: Mapping, report: Report = refuse) -> np.ndarray:
    """Segment map of a ``PanopticDataset`` sample, see ``LoadSegmentMap``.

    It reports another size than the photo has, and ids that the JSON does not list.

    Raises:
        FileNotFoundError: If the PNG is missing.
        ValueError: If it is damaged.
    """
    path = results['seg_map_path']
    what = f'panoptic PNG of photo {results["img_path"]},'
    data = read_file(path, what)
    if data.startswith(_PNG) and data[24:26] not in _COLOR_PNGS:
        raise ValueError(
            f'{what} {path} is not in colour with 8 bits, so it cannot hold segment ids as '
            'R + 256 G + 65536 B: replace the file'
        )
    png = decode_image(data, path, what)
    check_size(png.shape[:2], f'panoptic PNG {path}', path, results, report)
    ids = [segment['id'] for segment in results['segments_info']]
    segment_map = segment_indices(png, ids, results['void_ids'])
    unknown = segment_map < 0
    if unknown.any():
        first, text = _count_values(png[unknown] @ np.array([65536, 256, 1]), 'segment id')
        report(
            Finding(
                'PNG id without segment',
                f'panoptic PNG {path} has {text}, which its segments_info does not list: add the '
                'segment to the JSON, or paint it with 0 (void)',
                path,
                first,
            )
        )
        segment_map[unknown] = 0
    return segment_map


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


def read_label_png(results: Mapping, report: Report = refuse) -> np.ndarray:
    """Segment map of a ``SemanticDataset`` sample, see ``LoadSegmentMap``.

    It reports another size than the photo has, and values that are no class.

    Raises:
        FileNotFoundError: If the PNG is missing.
        ValueError: If it is damaged, or a colour picture.
    """
    path = results['seg_map_path']
    values = load_label_png(path, f'label PNG of photo {results["img_path"]},')
    check_size(values.shape, f'label PNG {path}', path, results, report)
    segment_map = results['segment_of_value'][values]
    unknown = segment_map < 0
    if unknown.any():
        first, text = _count_values(values[unknown], 'value')
        meant = np.flatnonzero(results['segment_of_value'] >= 0).tolist()
        report(
            Finding(
                'value is no class',
                f'label PNG {path} has {text}, which means no class (the {len(meant)} values from '
                f'{meant[0]} to {meant[-1]} do): check label_classes, ignore_index and '
                'reduce_zero_label of the data set',
                path,
                first,
            )
        )
        segment_map[unknown] = 0
    return segment_map


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
