"""Average precision of masks, by pycocotools or by hotcoco.

Legend: K classes, I images.
"""

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
from mmengine.logging import print_log
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..run_length import json_code

COLUMNS = ('AP', 'AP50', 'AP75', 'AP_s', 'AP_m', 'AP_l')
BACKENDS = ('pycocotools', 'hotcoco')


def check_backend(backend: str) -> str:
    """The backend, if it is known and installed.

    Raises:
        ModuleNotFoundError: If it is not installed.
        ValueError: If it is none of ``BACKENDS``.
    """
    if backend not in BACKENDS:
        raise ValueError(f'InstanceAP.backend is {backend!r}: it takes {" or ".join(BACKENDS)}')
    if importlib.util.find_spec(backend) is None:
        raise ModuleNotFoundError(
            f"InstanceAP.backend='{backend}' needs {backend}: pip install {backend}", name=backend
        )
    return backend


class PartialEval(COCOeval):
    """pycocotools' evaluation by the rule of LVIS for classes that are annotated in part.

    Where more objects of a class may be in an image than are annotated, detections that match none
    are neither right nor wrong.

    Args:
        partly: Ids of the categories that are annotated in part, for each image.
        **kwargs: Arguments of ``COCOeval``.
    """

    def __init__(self, *args, partly: Sequence[Collection[int]], **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.partly = partly

    def evaluateImg(self, imgId, catId, aRng, maxDet):  # noqa: N802, N803  pycocotools' names
        """Matches in an image."""
        found = super().evaluateImg(imgId, catId, aRng, maxDet)
        if found is not None and catId in self.partly[imgId]:
            found['dtIgnore'] = np.logical_or(found['dtIgnore'], found['dtMatches'] == 0)
        return found


def class_precisions(
    images: Sequence[Mapping],
    things: np.ndarray,
    max_dets: int,
    first_id: int = 1,
    backend: str = 'pycocotools',
) -> dict[str, np.ndarray]:
    """AP, AP50, AP75 and AP_s, AP_m, AP_l (area below 32^2, to 96^2, above) in percent, each (K,).

    Numbers without any ground truth, and those of stuff, are nan (pycocotools: -1).

    Args:
        images: Dicts, one per image: ``height``, ``width``, lists ``annotations`` and
            ``detections``, and where some classes are annotated in part, their labels ``partly``.
        things: Boolean array (K,).
        max_dets: Detections per image and class that count, the best first.
        first_id: Number of the first annotation that has no ``id``.
        backend: One of ``BACKENDS``. hotcoco has neither the rule for classes that are annotated in
            part nor that for an annotation with the number 0; there pycocotools is used, and the
            log says so.
    """
    sets = (
        _as_coco(images, things, 'annotations', first_id),
        _as_coco(images, things, 'detections', 1),
    )
    partly = [image.get('partly') or () for image in images]
    if backend == 'hotcoco' and (any(partly) or first_id < 1):
        why = 'classes that are annotated in part' if any(partly) else 'an annotation numbered 0'
        print_log(f'hotcoco has no rule for {why}: pycocotools scores them', logger='current')
        backend = 'pycocotools'
    if backend == 'hotcoco':
        found = _by_hotcoco(*sets, max_dets)
    else:
        found = _by_pycocotools(*sets, max_dets, partly if any(partly) else None)
    precision = np.full((10, 101, len(things), 4), np.nan)  # IoU thresholds, recalls, K, areas
    precision[:, :, things] = 100 * found
    precision[precision < 0] = np.nan
    of_class = precision.mean(1)  # IoU thresholds, K, areas
    # thresholds go from 0.5 in steps of 0.05; areas are all, small, medium, large
    values = (
        of_class[..., 0].mean(0), of_class[0, :, 0], of_class[5, :, 0],
        *(of_class[..., area].mean(0) for area in (1, 2, 3)),
    )  # fmt: skip
    return dict(zip(COLUMNS, values))


def _as_coco(images: Sequence[Mapping], things: np.ndarray, kind: str, first_id: int) -> dict:
    """Annotations or detections as the content of a COCO file."""
    records = [(i, record) for i, image in enumerate(images) for record in image[kind]]
    return dict(
        images=[
            dict(id=i, height=image['height'], width=image['width'])
            for i, image in enumerate(images)
        ],
        categories=[dict(id=int(label), name=str(label)) for label in np.flatnonzero(things)],
        annotations=[
            {'id': n, **record, 'image_id': i} for n, (i, record) in enumerate(records, first_id)
        ],
    )


def _by_pycocotools(
    annotations: dict,
    detections: dict,
    max_dets: int,
    partly: Sequence[Collection[int]] | None,
) -> np.ndarray:
    """Precision (10, 101, K of things, 4), -1 without ground truth."""

    def indexed(content: dict) -> COCO:
        coco = COCO()
        coco.dataset = content
        coco.createIndex()
        return coco

    with redirect_stdout(StringIO()):
        sets = indexed(annotations), indexed(detections)
        if partly is None:
            evaluation = COCOeval(*sets, 'segm')
        else:
            evaluation = PartialEval(*sets, 'segm', partly=partly)
        # COCOeval.summarize knows only 1, 10, 100; what a count yields does not depend on others
        evaluation.params.maxDets = [max_dets]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval['precision'][..., 0]


def _by_hotcoco(annotations: dict, detections: dict, max_dets: int) -> np.ndarray:
    """The same by hotcoco, which takes run lengths as text and asks for boxes."""
    import hotcoco

    def readable(record: dict) -> dict:
        return {'bbox': [0] * 4, **record, 'segmentation': json_code(record['segmentation'])}

    sets = [
        hotcoco.COCO(dict(content, annotations=[*map(readable, content['annotations'])]))
        for content in (annotations, detections)
    ]
    evaluation = hotcoco.COCOeval(*sets, 'segm')
    evaluation.params.maxDets = [max_dets]
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval['precision'])[..., 0]
