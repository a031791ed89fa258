"""Run-length codes: of masks, and of what COCO's files call a segmentation."""

from collections.abc import Mapping

import numpy as np
from pycocotools import mask as mask_utils


def encode_mask(mask: np.ndarray) -> dict:
    """Code of a mask (H, W), best in Fortran order; ``counts`` are bytes."""
    return mask_utils.encode(np.asfortranarray(mask, np.uint8))


def decode_mask(code: Mapping) -> np.ndarray:
    """Bool mask of shape (H, W) and in Fortran order, of a compressed code."""
    return mask_utils.decode(code).view(bool)


def code_area(code: Mapping) -> int:
    """Pixels of the mask of a compressed code."""
    return int(mask_utils.area(code))


def json_code(code: Mapping) -> dict:
    """A compressed code as JSON can hold it."""
    return dict(size=list(code['size']), counts=code['counts'].decode('ascii'))


def encode_segmentation(segmentation: list | Mapping, height: int, width: int) -> Mapping:
    """Compressed code of a segmentation in a COCO file.

    Args:
        segmentation: A list of polygons [x1, y1, x2, y2, ...] in pixels, or a dict with ``counts``
            (compressed or a list) and ``size``.
        height: Of the photo, in pixels.
        width: Of the photo, in pixels.

    Raises:
        ValueError: For a code of another size, and for what is no segmentation.
    """
    try:
        if not isinstance(segmentation, Mapping):
            if not all(len(polygon) >= 6 and len(polygon) % 2 == 0 for polygon in segmentation):
                raise ValueError('a polygon needs at least three points (x, y)')
            return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
        if tuple(segmentation['size']) != (height, width):
            raise ValueError(
                f'its run-length code is of (height, width) {segmentation["size"]}, the photo of '
                f'{[height, width]}'
            )
        if not isinstance(segmentation['counts'], list):
            return segmentation
        if sum(segmentation['counts']) != height * width:
            raise ValueError(f'its run-length code has {sum(segmentation["counts"])} pixels')
        return mask_utils.frPyObjects(segmentation, height, width)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f'its segmentation cannot be decoded ({error!r})') from error
