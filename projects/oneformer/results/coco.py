"""COCO: the JSON of a dataset, with images, categories, and a run-length code per object."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..run_length import json_code
from .objects import objects_of, predicted_task

if TYPE_CHECKING:
    from .prediction import Prediction


def image_entry(prediction: 'Prediction', image_id: int | str, file_name: str) -> dict:
    """The entry of an image."""
    height, width = prediction.size
    return dict(id=image_id, file_name=file_name, height=height, width=width)


def annotation_entries(
    prediction: 'Prediction', image_id: int | str, first_id: int, task: str | None = None
) -> list[dict]:
    """The entries of the objects of an image; see ``objects_of`` for the choice of objects.

    Args:
        prediction: Prediction of the image.
        image_id: Id of the image.
        first_id: Id of the first object; the next ones follow.
        task: A task word, see ``objects_of``.
    """
    categories, size = prediction.categories, prediction.size
    return [
        dict(
            id=number,
            image_id=image_id,
            category_id=categories.ids[found.label],
            bbox=list(found.box),
            area=found.area,
            segmentation=json_code(found.code(size)),
            iscrowd=0,
            **({} if found.score is None else dict(score=found.score)),
        )
        for number, found in enumerate(objects_of(prediction, task), first_id)
    ]


def coco_dataset(predictions: Iterable['Prediction'], task: str | None = None) -> dict:
    """A COCO dataset of predictions of one model.

    Args:
        predictions: Predictions of the images, which get the ids 1, 2, and so on.
        task: A task word, see ``objects_of``.

    Returns:
        ``images``, ``annotations`` (ids from 1) and ``categories``: all classes, or the things if
        the objects are instances.
    """
    images: list[dict] = []
    annotations: list[dict] = []
    categories: list[dict] = []
    for image_id, prediction in enumerate(predictions, 1):
        chosen = predicted_task(prediction, task)
        images.append(image_entry(prediction, image_id, prediction.name))
        annotations += annotation_entries(prediction, image_id, len(annotations) + 1, chosen)
        categories = prediction.categories.entries(only_things=chosen == 'instance')
    return dict(images=images, annotations=annotations, categories=categories)
