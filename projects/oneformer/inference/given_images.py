"""Arrays and PIL images that people pass, as input of a model: BGR, 8 bits."""

import numpy as np
from PIL import Image

from oneformer_runtime.arrays import check_array

from ..images.image_files import check_pixels
from ..images.orientation import exif_orientation
from ..images.reading import LoadedImage, to_loaded
from ..images.rules import ImageRules

__all__ = ['GIVEN', 'check_array', 'load_given']

GIVEN = (np.ndarray, Image.Image)
_ALPHA = ('RGBA', 'RGBa', 'LA', 'La', 'PA')


def load_given(image: np.ndarray | Image.Image, name: str, rules: ImageRules) -> LoadedImage:
    """Load an array (grey or BGR) or a PIL image of any mode, by the same rules as a file.

    A TIFF that Pillow has decoded before stays upright.

    Raises:
        ValueError: If a PIL image cannot be decoded, or no rule is given for its values.
    """
    what = f'image {name}'
    if isinstance(image, np.ndarray):
        return to_loaded(image, what, rules)
    check_pixels(image.height, image.width, what)
    orientation = exif_orientation(image)
    try:
        values = _values(image)
    except OSError as error:
        raise ValueError(f'{what} is damaged ({error}): replace the file') from error
    # Pillow turns a TIFF when it decodes it
    return to_loaded(values, what, rules, orientation, image.format == 'TIFF')


def _values(image: Image.Image) -> np.ndarray:
    """Grey or BGR, maybe with alpha, of a PIL image."""
    decoder = str(image.tile[0][3]) if getattr(image, 'tile', None) else ''
    if image.mode[0] not in 'IF' and ';16' in decoder:
        raise ValueError(
            'a PIL image of more than 8 bits per colour, which Pillow cuts to 8: hand over its '
            f'path ({getattr(image, "filename", "")!r}), or an array of cv2.IMREAD_UNCHANGED'
        )
    if image.mode[0] in 'IF':
        values = np.array(image)
        return values.astype(values.dtype.newbyteorder('='), copy=False)
    if image.mode in ('1', 'L'):
        return np.array(image.convert('L'))
    alpha = image.mode in _ALPHA or 'transparency' in image.info
    values = np.array(image.convert('RGBA' if alpha else 'RGB'))
    return values[..., [2, 1, 0, 3] if alpha else [2, 1, 0]]
