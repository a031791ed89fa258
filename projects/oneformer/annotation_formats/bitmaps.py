"""Small masks in the texts that tools write: PNGs in base64, and runs of numbers."""

import base64
import binascii
import io
import re
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..images.image_files import open_image

_DATA_URL = re.compile(r'^data:image/[a-z+.-]+;base64,', re.IGNORECASE)
_PNG = b'\x89PNG'
_MOST = 1 << 30  # bytes of a mask that zlib may unpack to


def decode_base64(text: str, where: str) -> bytes:
    """Bytes of a text in base64, maybe a data URL; ValueError names the place."""
    if not isinstance(text, str):
        raise ValueError(f'{where} is {type(text).__name__}, not a text in base64: correct it')
    try:
        return base64.b64decode(''.join(_DATA_URL.sub('', text).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f'{where} is not in base64 ({error}): export it again') from error


def mask_of_png(data: bytes, where: str) -> np.ndarray:
    """Bool mask (H, W) of a PNG: where it is opaque if it has alpha, else where it is not 0.

    An edge that was smoothed belongs to the mask where it has at least half of the highest value.
    """
    try:
        image = open_image(io.BytesIO(data), where)
        image.load()
        values = _values(image)
    except ValueError:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise ValueError(f'{where} is not a whole PNG ({error}): export it again') from error
    return above_half(values)


def _values(image: Image.Image) -> np.ndarray:
    """Alpha of an image that has it, else its values, the highest of its channels."""
    values, transparent = np.asarray(image), image.info.get('transparency')
    if image.mode == 'P' and isinstance(transparent, bytes):
        alpha = np.full(256, 255, np.uint8)
        alpha[: len(transparent)] = list(transparent)
        return alpha[values]
    if image.mode == 'P' and transparent is not None:
        return values != transparent
    if image.mode in ('RGBA', 'LA'):
        return values[..., -1]
    return values.max(-1) if values.ndim == 3 else values


def above_half(values: np.ndarray) -> np.ndarray:
    """Where values, bool or from 0, have at least half of the highest; nowhere if all are 0."""
    return values if values.dtype == bool else (values > 0) & (2.0 * values >= values.max())


def unpack(data: bytes, where: str) -> bytes:
    """Data that zlib packed, unpacked; a PNG that was not packed is returned as it is."""
    if data.startswith(_PNG):
        return data
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, _MOST)
    except zlib.error as error:
        raise ValueError(f'{where} is not packed by zlib ({error}): export it again') from error
    if unpacker.unconsumed_tail:
        raise ValueError(f'{where} unpacks to more than {_MOST} bytes: export it again')
    return found


def mask_of_runs(runs: Sequence[int], height: int, width: int, where: str) -> np.ndarray:
    """Bool mask (H, W) of lengths of runs, row by row, of which the first is outside.

    Raises:
        ValueError: If they are negative, or not as many pixels as the mask has.
    """
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(
            f'{where} has runs of {sum(runs)} pixels, and is {width} x {height}: export it again'
        )
    counts = np.array(runs, np.int64)
    return (np.arange(len(counts)) % 2 == 1).repeat(counts).reshape(height, width)
