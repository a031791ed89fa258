"""Run-length codes of masks, and of the segmentations in COCO's files."""

from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools import mask as mask_utils

_MANY = 1 / 32  # changes of a pixel of a mask, from where pycocotools is the faster


def encode_mask(mask: np.ndarray) -> dict:
    """Code of a mask (H, W); ``counts`` are bytes, the same as by pycocotools."""
    mask = np.asarray(mask)
    if not mask.flags.f_contiguous:
        mask = mask.view(np.uint8) if mask.dtype == bool else mask.astype(np.uint8, copy=False)
        differs = differing(mask, 0)
        if np.count_nonzero(differs) < _MANY * differs.size:
            return code_of_changes(in_columns(differs), *mask.shape)
    return mask_utils.encode(np.asfortranarray(mask, np.uint8))


def differing(values: np.ndarray, before: int | None = None) -> np.ndarray:
    """Where a map differs from the pixel before it, column by column, bool of shape (H, W).

    Args:
        values: Map of shape (H, W).
        before: Value before the first pixel, None for another than its.
    """
    differs = np.empty(values.shape, bool)
    np.not_equal(values[1:], values[:-1], out=differs[1:])
    np.not_equal(values[0, 1:], values[-1, :-1], out=differs[0, 1:])
    differs[0, 0] = before is None or values[0, 0] != before
    return differs


def in_columns(chosen: np.ndarray) -> np.ndarray:
    """Positions (x H + y), ascending, of the chosen pixels of (H, W).

    Where they are few, faster by far than to bring all pixels into that order.
    """
    height, width = chosen.shape
    y, x = np.divmod(np.flatnonzero(chosen), width)
    if width < 1 << 16:  # numpy sorts short numbers by their digits
        order = x.astype(np.uint16).argsort(kind='stable')
        return x[order] * height + y[order]
    return np.sort(x * height + y)


def code_of_changes(changes: np.ndarray, height: int, width: int) -> dict:
    """Code of a mask by the positions, column by column, where it begins and ends, ascending."""
    counts = np.diff(changes, prepend=0, append=height * width).tolist()
    return mask_utils.frPyObjects(dict(size=[height, width], counts=counts), height, width)


def encode_ids(id_map: np.ndarray, ids: Sequence[int]) -> list[dict]:
    """Codes of ``id_map == id`` for several ids, from one look at the map of shape (H, W)."""
    if not len(ids):
        return []
    height, width = id_map.shape
    starts = in_columns(differing(id_map))
    x, y = np.divmod(starts, height)
    values = id_map[y, x]
    codes = []
    for number in ids:
        inside = values == number
        changes = np.diff(inside, prepend=False)
        codes.append(code_of_changes(starts[changes], height, width))
    return codes


def encode_part(mask: np.ndarray, corner: Sequence[int], height: int, width: int) -> dict:
    """Code of a mask that covers a part of an image; the rest is empty.

    Args:
        mask: Bool, of shape (h, w).
        corner: (left, top) of the part in the image, in whole pixels.
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
    """
    left, top = corner
    columns = np.zeros((height, mask.shape[1]), np.uint8, 'F')
    columns[top : top + mask.shape[0]] = mask
    counts = read_counts(encode_mask(columns)['counts']).tolist() or [0]
    counts[0] += left * height  # codes go column by column, and begin with what is outside
    counts += [0] * (len(counts) % 2 == 0)
    counts[-1] += (width - left - mask.shape[1]) * height
    if len(counts) > 1 and not counts[-1]:
        counts.pop()
    return mask_utils.frPyObjects(dict(size=[height, width], counts=counts), height, width)


def decode_mask(code: Mapping) -> np.ndarray:
    """Bool mask of shape (H, W) and in Fortran order, of a compressed code."""
    return mask_utils.decode(code).view(bool)


def code_area(code: Mapping) -> int:
    """Pixels of the mask of a compressed code."""
    return int(mask_utils.area(code))


def measure_code(code: Mapping) -> dict:
    """``area``, in pixels, and ``bbox`` (left, top, width, height) of a compressed code.

    Both are zero for an empty mask.
    """
    return dict(area=code_area(code), bbox=mask_utils.toBbox(code).astype(int).tolist())


def json_code(code: Mapping) -> dict:
    """A compressed code as a dict that JSON can hold."""
    return dict(size=list(code['size']), counts=code['counts'].decode('ascii'))


def read_counts(text: bytes) -> np.ndarray:
    """Lengths of the runs of a compressed code, which pycocotools does not check against the size.

    A character holds five bits, the lowest first, and whether more follow; from the fourth run on
    it is the difference to the length of the run before the last.

    Raises:
        ValueError: If it has invalid characters, or ends in the middle of a number.
    """
    characters = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not characters.size:
        return characters
    ends = np.flatnonzero((characters & 32) == 0)
    starts = np.append(0, ends + 1)
    if (characters < 0).any() or (characters > 63).any() or starts[-1] != len(characters):
        raise ValueError('its run-length code has characters that none has')
    starts, sizes = starts[:-1], np.diff(starts)
    if sizes.max() > 7:  # of 32 bits
        raise ValueError('its run-length code has a number that is too large')
    shifts = 5 * (np.arange(len(characters)) - starts.repeat(sizes))
    counts = np.add.reduceat((characters & 31) << shifts, starts)
    counts -= ((characters[ends] & 16) > 0) * (1 << 5 * sizes)
    for first in (1, 2):
        counts[first::2] = counts[first::2].cumsum()
    return counts


def encode_crop(crop: np.ndarray, x: int, y: int, size: tuple[int, int]) -> dict:
    """Code of a mask that is empty outside of a box, without a mask of the image's size.

    Args:
        crop: The mask inside the box, of shape (h, w).
        x: Left edge of the box, in pixels.
        y: Upper edge of the box, in pixels.
        size: (H, W) of the image.
    """
    height, width = size
    columns = np.zeros((height, crop.shape[1]), np.uint8, order='F')
    columns[y : y + crop.shape[0]] = crop
    counts = read_counts(mask_utils.encode(columns)['counts'])
    counts[0] += x * height
    behind = (width - x - crop.shape[1]) * height
    if len(counts) % 2:  # it ends outside of the mask
        counts[-1] += behind
    elif behind:
        counts = np.append(counts, behind)
    whole = dict(size=[height, width], counts=counts.tolist())
    return mask_utils.frPyObjects(whole, height, width)


def _check_polygon(polygon: list, margin: int) -> None:
    """Raise ValueError if it is not a polygon, or so far outside that drawing it is too slow.

    Args:
        polygon: Polygon as in a JSON.
        margin: Distance by which it may leave the image, in pixels.
    """
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError('a polygon needs at least three points (x, y)')
    for value in polygon:
        if type(value) not in (int, float) or not -margin <= value <= 2 * margin:
            raise ValueError(f'a polygon has the coordinate {value!r}, far out of the image')


def encode_segmentation(segmentation: list | Mapping, height: int, width: int) -> Mapping:
    """Compressed code of a segmentation in a COCO file.

    Args:
        segmentation: A list of polygons [x1, y1, x2, y2, ...] in pixels, or a dict with ``counts``
            (compressed or a list) and ``size``.
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.

    Raises:
        ValueError: If a code is of another size, or it is not a segmentation.
    """
    try:
        if isinstance(segmentation, list):
            for polygon in segmentation:
                _check_polygon(polygon, height + width)
            return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
        if tuple(segmentation['size']) != (height, width):
            raise ValueError(
                f'its run-length code is of (height, width) {segmentation["size"]}, the image of '
                f'{[height, width]}'
            )
        counts = segmentation['counts']
        if not isinstance(counts, list):
            counts = read_counts(counts if isinstance(counts, bytes) else counts.encode()).tolist()
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError('its run-length code has counts that are not whole numbers from 0')
        if sum(counts) != height * width:
            raise ValueError(f'its run-length code has {sum(counts)} pixels')
        if not isinstance(segmentation['counts'], list):
            return segmentation
        return mask_utils.frPyObjects(segmentation, height, width)
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f'its segmentation cannot be decoded ({error!r})') from error
