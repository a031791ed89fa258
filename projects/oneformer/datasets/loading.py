"""Load a panoptic PNG as one small integer map."""

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.fileio import get

_NUM_IDS = 1 << 24
_index_of_id = None  # one table per process, cleaned after each use


def segment_indices(png: np.ndarray, ids: list[int]) -> np.ndarray:
    """Replace segment ids by their position.

    Args:
        png: A panoptic PNG as OpenCV decodes it, blue first, uint8 of shape (H, W, 3). The id of a
            pixel is R + 256 G + 65536 B, and 0 is void.
        ids: The annotated ids.

    Returns:
        Of shape (H, W), int16: k for ``ids[k - 1]``, 0 for void, -1 for an id not in ``ids``.
    """
    global _index_of_id
    if _index_of_id is None:
        _index_of_id = np.full(_NUM_IDS, -1, np.int16)
        _index_of_id[0] = 0
    id_map = png[..., 2] | png[..., 1].astype(np.int32) << 8 | png[..., 0].astype(np.int32) << 16
    _index_of_id[ids] = np.arange(1, len(ids) + 1)
    try:
        return _index_of_id[id_map]
    finally:
        _index_of_id[ids] = -1


@TRANSFORMS.register_module()
class LoadPanopticMap(BaseTransform):
    """Load the annotation of a ``PanopticDataset`` sample.

    Required keys: ``seg_map_path``, ``segments_info``, ``ori_shape``. Added: ``gt_seg_map`` of
    shape (H, W), int16: 0 is void, k is ``segments_info[k - 1]``. Transforms that know
    ``gt_seg_map`` move it with the photo; pad it with 0.

    Args:
        backend_args: Of mmengine's file client.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Add the map.

        Raises:
            FileNotFoundError: If the PNG is missing.
            ValueError: If it cannot be decoded, differs in size from the photo, or holds an id that
                the JSON does not list.
        """
        path, photo = results['seg_map_path'], results['img_path']
        try:
            data = get(path, backend_args=self.backend_args)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'panoptic PNG {path} of photo {photo} does not exist: check data_root and '
                "data_prefix['seg']"
            ) from error
        png = mmcv.imfrombytes(data, flag='color', backend='cv2') if data else None
        if png is None:
            raise ValueError(f'panoptic PNG {path} cannot be decoded: replace the file')
        if png.shape[:2] != tuple(results['ori_shape']):
            raise ValueError(
                f'panoptic PNG {path} has (height, width) {png.shape[:2]}, but photo {photo} has '
                f'{tuple(results["ori_shape"])}: the two files do not belong together'
            )
        ids = [segment['id'] for segment in results['segments_info']]
        segment_map = segment_indices(png, ids)
        unknown = segment_map < 0
        if unknown.any():
            color = png[unknown][0]
            blue, green, red = color.tolist()
            raise ValueError(
                f'panoptic PNG {path} has {int((png == color).all(-1).sum())} pixels of segment '
                f'id {red + 256 * green + 65536 * blue}, which its segments_info does not list: '
                'add the segment to the JSON, or paint it with 0 (void)'
            )
        results['gt_seg_map'] = segment_map
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
