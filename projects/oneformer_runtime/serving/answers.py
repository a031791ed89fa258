"""Predictions as JSON with run lengths, and as PNG.

Legend: H, W size of the image.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np

_PART = 1 << 16  # numbers that are text at once


def runs(values: np.ndarray) -> np.ndarray:
    """Values and lengths of the runs of a map (H, W), row by row: [value, length, value, ...]."""
    flat = np.ascontiguousarray(values).ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(starts, append=flat.size)
    return np.stack([flat[starts], lengths], 1).ravel()


def mask_counts(mask: np.ndarray, left: int, right: int) -> np.ndarray:
    """COCO's uncompressed run lengths of a mask, column by column, beginning with zeros.

    Args:
        mask: Bool of shape (H, W).
        left: First column that has pixels of it.
        right: The column behind the last one.
    """
    flat = mask[:, left:right].ravel('F')
    changes = np.flatnonzero(np.diff(flat.view(np.int8), prepend=0)) + left * mask.shape[0]
    if changes.size % 2 and changes.size:  # it goes on to the end of the columns
        changes = np.append(changes, right * mask.shape[0])
    counts = np.diff(changes, prepend=0, append=mask.size)
    return counts[:-1] if len(counts) > 1 and not counts[-1] else counts


def _instances(prediction: Any) -> list[dict]:
    found = []
    rows = zip(prediction.labels, prediction.scores, prediction.boxes, prediction.masks)
    for label, score, box, mask in rows:
        x1, y1, x2, y2 = map(int, box)
        found.append(
            dict(
                label=int(label),
                category=prediction.names[int(label)],
                score=float(score),
                area=int(np.count_nonzero(mask)),
                bbox=[x1, y1, x2 - x1, y2 - y1],
                mask=dict(size=list(mask.shape), counts=mask_counts(mask, x1, x2)),
            )
        )
    return found


_KEYS = ('id', 'label', 'category', 'isthing', 'score', 'area', 'bbox')


def _segments(prediction: Any) -> list[dict]:
    return [
        {key: segment[key] for key in _KEYS if key in segment} for segment in prediction.segments
    ]


def fields_of(prediction: Any) -> dict:
    """Fields of a prediction for JSON; its runs are arrays.

    Args:
        prediction: Has the fields of ``oneformer_runtime.Prediction``.
    """
    height, width = prediction.size
    found: dict = dict(width=width, height=height, tasks=list(prediction.tasks))
    if prediction.panoptic_map is not None:
        segments = _segments(prediction)
        found['panoptic'] = dict(segments=segments, runs=runs(prediction.panoptic_map))
    if prediction.masks is not None:
        found['instance'] = dict(instances=_instances(prediction))
    if prediction.semantic_map is not None:
        found['semantic'] = dict(runs=runs(prediction.semantic_map))
    return found


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield '{'
        for number, (key, item) in enumerate(value.items()):
            yield f'{"," if number else ""}{json.dumps(key)}:'
            yield from _pieces(item)
        yield '}'
    elif isinstance(value, np.ndarray):  # in parts, as numbers of Python take much memory
        yield '['
        for start in range(0, len(value), _PART):
            yield ',' if start else ''
            yield ','.join(map(str, value[start : start + _PART].tolist()))
        yield ']'
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield '['
        for number, item in enumerate(value):
            yield ',' if number else ''
            yield from _pieces(item)
        yield ']'
    else:
        yield json.dumps(value, allow_nan=False, separators=(',', ':'))


def to_json(value: Any) -> bytes:
    """JSON of dicts, lists and arrays of whole numbers, in ASCII."""
    return b''.join(piece.encode() for piece in _pieces(value))


def compressed(data: bytes) -> bytes:
    """Data in gzip's format, quickly."""
    maker = zlib.compressobj(1, zlib.DEFLATED, 31)
    return maker.compress(data) + maker.flush()


def to_png(prediction: Any, task: str) -> bytes:
    """The map of a task as PNG.

    Panoptic ids are R + 256 G + 65536 B, and ``segments_info`` is a text in the file. Labels of
    the semantic task are grey, of 8 bits, or of 16 where there are more than 256 classes.
    """
    if task == 'semantic':
        dtype = np.uint8 if len(prediction.names) <= 256 else np.uint16
        return _png(prediction.semantic_map.astype(dtype))
    ids = prediction.panoptic_map
    picture = np.stack([ids >> shift & 255 for shift in (16, 8, 0)], -1).astype(np.uint8)
    text = json.dumps(_segments(prediction), allow_nan=False)
    return _with_text(_png(picture), 'segments_info', text)


def _png(values: np.ndarray) -> bytes:
    written, data = cv2.imencode('.png', values, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not written:
        raise ValueError(f'OpenCV cannot write a PNG of shape {values.shape}')
    return data.tobytes()


def _with_text(png: bytes, key: str, text: str) -> bytes:
    """A PNG with a text of UTF-8, as its last chunk but the end."""
    content = key.encode() + b'\0\0\0\0\0' + text.encode()
    chunk = b'iTXt' + content
    end = len(png) - 12
    whole = struct.pack('>I', len(content)) + chunk + struct.pack('>I', zlib.crc32(chunk))
    return png[:end] + whole + png[end:]


def parts(data: bytes, length: int = 1 << 16) -> Iterable[memoryview]:
    """Pieces of data of a length, without copies."""
    view = memoryview(data)
    return (view[start : start + length] for start in range(0, len(view), length))
