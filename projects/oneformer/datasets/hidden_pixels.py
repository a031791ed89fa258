"""Number of pixels that overlapping objects hide, and how a dataset treats them, in words."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pycocotools import mask as mask_utils

from ..run_length import code_area, encode_segmentation

_LOOKED_AT = 500  # annotations, which takes some hundredths of a second


class Hidden(NamedTuple):
    """Pixels that overlaps hide in some images; crowds hide nothing.

    Attributes:
        images: Number of images that were looked at.
        overlapped: Number of images in which objects overlap.
        pixels: Number of pixels of objects that others hide, summed over the objects.
        whole: Number of pixels of all objects, summed over the objects.
    """

    images: int
    overlapped: int
    pixels: int
    whole: int

    @property
    def share(self) -> float:
        """Share of the pixels that are hidden, in percent."""
        return 100 * self.pixels / max(self.whole, 1)


def estimate_hidden(images: Sequence[Mapping]) -> Hidden:
    """Pixels that overlaps hide in some images, evenly spread, without decoding a mask.

    Args:
        images: Samples as ``InstanceDataset.load_data_list`` returns them. Images with a
            segmentation that cannot be decoded, which is reported elsewhere, are left out.
    """
    step = max(sum(len(image['segments_info']) for image in images) // _LOOKED_AT, 1)
    count = overlapped = pixels = whole = 0
    for image in images[::step]:
        size = image['height'], image['width']
        try:
            codes = [
                encode_segmentation(segment['segmentation'], *size)
                for segment in image['segments_info']
                if not segment['iscrowd']
            ]
        except ValueError:
            continue
        count += 1
        if not codes:
            continue
        total = sum(code_area(code) for code in codes)
        hidden = total - code_area(mask_utils.merge(codes))
        overlapped, pixels, whole = overlapped + (hidden > 0), pixels + hidden, whole + total
    return Hidden(count, overlapped, pixels, whole)


def rule_text(overlaps: str, on_top: str | Sequence[str]) -> str:
    """Effect of ``overlaps`` and ``on_top`` of a dataset on training and scores, in words."""
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
