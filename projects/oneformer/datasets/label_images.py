"""Read label images, a panoptic PNG or a label PNG, as maps of the segments of their sample."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ..image_files import read_file
from ..image_loading import decode_image
from ..image_notes import frame_hint
from ..label_files import load_label_png
from .findings import Finding, Report, refuse

NUM_IDS = 1 << 24  # of three bytes
_PNG = b'\x89PNG\r\n\x1a\n'
# bits and colour type in the header: RGB, RGBA, and palettes of up to 8 bits
_COLOR_PNGS = (b'\x08\x02', b'\x08\x06', *(bytes([bits, 3]) for bits in (1, 2, 4, 8)))
_index_of_id = None  # one table per process, cleaned after each use


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
                f'{tuple(results["ori_shape"])}: {frame_hint(size, results)}',
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
