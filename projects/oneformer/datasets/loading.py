"""Load a photo, and its panoptic PNG as one small integer map; damaged files are named."""

import io

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.fileio import get
from PIL import Image

_END_MARKERS = (b'\xff\xd9', b'IEND\xaeB`\x82')  # of JPEG and PNG

NUM_IDS = 1 << 24  # of three bytes
_index_of_id = None  # one table per process, cleaned after each use


def load_image(path: str, what: str) -> np.ndarray:
    """Read and decode an image, in full.

    OpenCV fills the missing rest of a truncated file with grey and says nothing, so a file that
    does not end as its format should is decoded by Pillow first, which is strict.

    Args:
        path: Of the file.
        what: What it is, for messages.

    Returns:
        BGR, uint8, of shape (H, W, 3), turned upright by its EXIF orientation.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is empty, truncated, or no image.
    """
    try:
        data = get(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{what} {path} does not exist: check data_root and data_prefix of the data set'
        ) from error
    try:
        if not data.endswith(_END_MARKERS):
            Image.open(io.BytesIO(data)).load()
        image = mmcv.imfrombytes(data, flag='color', backend='cv2')
    except Exception as error:  # decoders raise whatever they like
        raise ValueError(f'{what} {path} is damaged ({error}): replace the file') from error
    if image is None:
        raise ValueError(f'{what} {path} cannot be decoded: replace the file')
    return image


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
        _index_of_id = np.full(NUM_IDS, -1, np.int16)
        _index_of_id[0] = 0
    # four bytes R, G, B, 255 are a number: ten times faster than shifts and sums
    id_map = cv2.cvtColor(png, cv2.COLOR_BGR2RGBA).view('<i4')[..., 0] & 0xFFFFFF
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
    """

    def transform(self, results: dict) -> dict:
        """Add the map, if the sample names one.

        Raises:
            FileNotFoundError: If the PNG is missing.
            ValueError: If it is damaged, differs in size from the photo, or holds an id that the
                JSON does not list.
        """
        if 'seg_map_path' not in results:  # a photo of inference has no annotation
            return results
        path, photo = results['seg_map_path'], results['img_path']
        png = load_image(path, f'panoptic PNG of photo {photo},')
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
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
