"""How many pixels of objects others hide, and what a dataset does about it, in words."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pycocotools import mask as mask_utils

from ..run_length import code_area, encode_segmentation

_LOOKED_AT = 500  # annotations, which takes some hundredths of a second


class Hidden(NamedTuple):
    """What overlaps hide in some images; crowds hide nothing.

    Attributes:
        images: That were looked at.
        overlapped: Images in which objects overlap.
        pixels: Of objects that others hide, counted for each object.
        whole: Pixels of all objects, counted for each.
    """

    images: int
    overlapped: int
    pixels: int
    whole: int

    @property
    def share(self) -> float:
        """In percent."""
        return 100 * self.pixels / max(self.whole, 1)


def estimate_hidden(photos: Sequence[Mapping]) -> Hidden:
    """What overlaps hide in some images, evenly spread, without decoding a mask.

    Args:
        photos: As ``InstanceDataset.load_data_list`` returns them. Those with a segmentation that
            cannot be decoded, which is reported elsewhere, are left out.
    """
    step = max(sum(len(photo['segments_info']) for photo in photos) // _LOOKED_AT, 1)
    images = overlapped = pixels = whole = 0
    for photo in photos[::step]:
        size = photo['height'], photo['width']
        try:
            codes = [
                encode_segmentation(segment['segmentation'], *size)
                for segment in photo['segments_info']
                if not segment['iscrowd']
            ]
        except ValueError:
            continue
        images += 1
        if not codes:
            continue
        total = sum(code_area(code) for code in codes)
        hidden = total - code_area(mask_utils.merge(codes))
        overlapped, pixels, whole = overlapped + (hidden > 0), pixels + hidden, whole + total
    return Hidden(images, overlapped, pixels, whole)


def rule_text(overlaps: str, on_top: str | Sequence[str]) -> str:
    """What ``overlaps`` and ``on_top`` of a dataset mean for what is taught and scored."""
    order = f'on_top={on_top if isinstance(on_top, str) else list(on_top)!r}'
    if overlaps == 'full':
        return (
            "Whole masks are taught, as AP scores them (overlaps='full'); where a pixel can have "
            f'one object only, as in a panoptic ground truth, {order} decides'
        )
    return (
        f'Each pixel is taught to the object on top ({order}), but AP scores whole masks: say '
        "overlaps='full' to teach those"
    )
