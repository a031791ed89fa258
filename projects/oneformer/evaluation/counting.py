"""Objects and detections per class in an image, and which of them AP counts."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from mmengine.logging import print_log


def most_of_classes(images: Sequence[Mapping], kind: str, num_classes: int) -> np.ndarray:
    """The most records of each class that one image has, int64 (K,).

    Args:
        images: Dicts with lists of COCO records whose ``category_id`` is the label.
        kind: Key of the lists, ``annotations`` or ``detections``. Crowds are not counted.
        num_classes: K.
    """
    most = np.zeros(num_classes, np.int64)
    for image in images:
        records = image[kind]
        if len(records) > most.min():
            counts = Counter(r['category_id'] for r in records if not r.get('iscrowd', 0))
            for label, count in counts.items():
                most[label] = max(most[label], count)
    return most


def tell_beyond(
    max_dets: int, objects: np.ndarray, detections: np.ndarray, classes: Sequence[str]
) -> None:
    """Log how many detections AP leaves out, and what AP_all counts.

    Args:
        max_dets: Detections per image and class that AP counts.
        objects: Most objects of each class in an image, (K,).
        detections: Most detections of each class in an image, (K,).
        classes: Names of the K classes.
    """
    facts = [
        f'up to {counts.max()} {what} of {classes[counts.argmax()]!r}'
        for counts, what in ((objects, 'objects'), (detections, 'detections'))
        if counts.max() > max_dets
    ]
    message = (
        f'InstanceAP: images have {" and ".join(facts)}. AP counts the best {max_dets} detections '
        'of a class in an image, as COCO does (max_dets); AP_all counts all'
    )
    if objects.max() > detections.max():
        message += (
            f'. There are no more than {detections.max()} detections of a class: if it has to find '
            'more, raise model.panoptic_head.num_queries, and model.test_cfg.max_per_image where '
            'it is a number'
        )
    print_log(message, logger='current')
