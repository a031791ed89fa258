"""Predictions as objects of other libraries, which are imported only when they are asked for."""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .objects import crop_of, objects_of

if TYPE_CHECKING:
    from .prediction import Prediction


def require(module: str) -> ModuleType:
    """Import an optional package; ImportError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'to_{module}() needs the package {module}, which cannot be imported ({error}): '
            f'pip install {module}'
        ) from error


def to_supervision(prediction: 'Prediction', task: str | None = None) -> Any:
    """``supervision.Detections`` of the objects, see ``objects_of``.

    Masks are run-length codes of crops (``CompactMask``), or dense in a version without these.

    Raises:
        ImportError: If the package is not installed.
    """
    supervision = require('supervision')
    size, names = prediction.size, prediction.names
    found = list(objects_of(prediction, task))
    if not found:
        return supervision.Detections.empty()
    boxes = np.array([each.box for each in found], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    scores = [each.score for each in found]
    return supervision.Detections(
        xyxy=boxes,
        mask=_masks(supervision, found, size),
        confidence=None if None in scores else np.array(scores, np.float32),
        class_id=np.array([each.label for each in found]),
        data=dict(class_name=np.array([names[each.label] for each in found])),
    )


def _masks(supervision: ModuleType, found: list, size: tuple[int, int]) -> Any:
    """Masks of objects as supervision holds them in least memory."""
    compact = getattr(supervision, 'CompactMask', None)
    if compact is None:
        masks = np.zeros((len(found), *size), bool)
        for mask, each in zip(masks, found):
            crop_of(mask, each.box)[:] = each.crop
        return masks
    parts = []
    for each in found:
        x, y, width, height = each.box
        corners = np.array([[0, 0, width - 1, height - 1]])  # inclusive, as supervision has it
        part = compact.from_dense(each.crop[None], corners, (height, width))
        parts.append(part.with_offset(x, y, size))
    return compact.merge(parts)


def to_fiftyone(prediction: 'Prediction') -> Mapping[str, Any]:
    """Labels of FiftyOne by the task, to be set as fields of a sample.

    FiftyOne has no panoptic labels: segments become detections, as instances, with ``isthing``. A
    semantic prediction is a ``Segmentation`` of label + 1; 0 is void.

    Returns:
        ``fo.Detections`` for ``instance`` and ``panoptic``, ``fo.Segmentation`` for ``semantic``.

    Raises:
        ImportError: If the package is not installed.
    """
    fiftyone = require('fiftyone')
    fields = {}
    for task in prediction.tasks:
        if task == 'semantic':
            values = np.asarray(prediction.semantic_map) + 1
            dtype = np.uint8 if len(prediction.names) < 256 else np.uint16
            fields[task] = fiftyone.Segmentation(mask=values.astype(dtype))
        else:
            fields[task] = fiftyone.Detections(detections=_detections(fiftyone, prediction, task))
    return fields


def _share(pixels: int, of: int) -> float:
    """Share of a side that gives the same pixels back, whether it is rounded or cut."""
    share = pixels / of
    return share if share * of >= pixels else float(np.nextafter(share, 2))


def _detections(fiftyone: ModuleType, prediction: 'Prediction', task: str) -> list:
    """``fo.Detection`` of the objects: boxes as shares of the image, masks as crops."""
    height, width = prediction.size
    return [
        fiftyone.Detection(
            label=prediction.names[each.label],
            bounding_box=[_share(n, of) for n, of in zip(each.box, (width, height) * 2)],
            mask=each.crop.copy(),  # that of an instance is a view of all masks
            confidence=each.score,
            isthing=prediction.categories.is_thing[each.label],
        )
        for each in objects_of(prediction, task)
    ]
