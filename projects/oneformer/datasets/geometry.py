"""The original's resizing and large-scale jitter, for the image and its integer map alike.

Images are resized by Pillow's antialiased bilinear filter on uint8 and maps at pixel centres, as in
the original; mmcv's ``Resize`` would do neither for a map of more than 8 bits.
"""

from collections.abc import Sequence

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS


def resize_map(seg_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest-neighbour resize at pixel centres, of any dtype, to (height, width)."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for old, new in zip(seg_map.shape, size)
    )
    return seg_map[rows[:, None], columns]


def resize_sample(results: dict, size: tuple[int, int]) -> None:
    """Resize the image and its map, if there is one, to (height, width) in place."""
    height, width = results['img'].shape[:2]
    results['img'] = mmcv.imresize(results['img'], size[::-1], backend='pillow')
    results['img_shape'] = size
    results['scale_factor'] = (size[1] / width, size[0] / height)
    if 'gt_seg_map' in results:
        results['gt_seg_map'] = resize_map(results['gt_seg_map'], size)


@TRANSFORMS.register_module()
class ResizeShortEdge(BaseTransform):
    """Resize so that the short edge has a given length, unless the long edge would be too long.

    Args:
        short_edges: Lengths in pixels to draw from with equal chance; one for testing.
        max_size: Limit of the long edge in pixels.
    """

    def __init__(self, short_edges: Sequence[int], max_size: int) -> None:
        self.short_edges = list(short_edges)
        self.max_size = max_size

    def transform(self, results: dict) -> dict:
        """Resize ``img`` and ``gt_seg_map``; set ``img_shape`` and ``scale_factor``."""
        height, width = results['img'].shape[:2]
        scale = np.random.choice(self.short_edges) / min(height, width)
        scale = min(scale, self.max_size / max(height, width))
        # a line of one pixel stays one
        size = max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)
        resize_sample(results, size)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.short_edges}, max_size={self.max_size})'


@TRANSFORMS.register_module()
class LargeScaleJitter(BaseTransform):
    """Scale at random, then crop or pad to a fixed square (the original's COCO recipe).

    Both axes of a crop share one random number, as in detectron2. Padding is 128 in the image and
    void in the map.

    Args:
        size: Side of the square in pixels.
        scale_range: Range of the scale, relative to fitting the image into the square.
    """

    def __init__(self, size: int = 1024, scale_range: tuple[float, float] = (0.1, 2.0)) -> None:
        self.size = size
        self.scale_range = scale_range

    def transform(self, results: dict) -> dict:
        """Resize, crop and pad ``img`` and ``gt_seg_map``; set ``img_shape``."""
        height, width = results['img'].shape[:2]
        target = self.size * np.random.uniform(*self.scale_range)
        scale = min(target / height, target / width)
        resize_sample(results, (max(round(height * scale), 1), max(round(width * scale), 1)))
        offset = np.random.uniform()
        top, left = (round(max(side - self.size, 0) * offset) for side in results['img_shape'])
        for key, value in (('img', (128, 128, 128)), ('gt_seg_map', 0)):
            crop = results[key][top : top + self.size, left : left + self.size]
            results[key] = mmcv.impad(crop, shape=(self.size, self.size), pad_val=value)
        results['img_shape'] = (self.size, self.size)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, scale_range={self.scale_range})'
