"""Limits on the number of objects of an image that can be learned, predicted and scored.

One limit lies behind the other: queries, prompts, instances of a prediction, detections of the
metric. A user who raises one should know all of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

COCO_DETECTIONS = 100  # per image and class, of COCO's AP


def default_max_per_image(num_queries: int) -> int:
    """Instances of a prediction where ``test_cfg.max_per_image`` is None.

    As many as queries, and at least those that COCO's AP counts.
    """
    return max(num_queries, COCO_DETECTIONS)


@dataclass(frozen=True)
class Limits:
    """Limits on the number of objects in an image; None where there is none, or it is not known.

    Attributes:
        queries: ``model.panoptic_head.num_queries``.
        context: ``model.text_mapper.num_context``, queries without a prompt.
        max_per_image: ``model.test_cfg.max_per_image`` where it is a number.
        max_dets: The least of the ``InstanceAP`` that score.
    """

    queries: int | None = None
    context: int | None = None
    max_per_image: int | None = None
    max_dets: int | None = None


def metrics_of(evaluator: Mapping | Sequence) -> list:
    """Configs of the metrics of an evaluator: it is one, a list of them, or has ``metrics``."""
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        evaluator = evaluator['metrics']
    return [evaluator] if isinstance(evaluator, Mapping) else list(evaluator)


def configured_limits(cfg: Mapping) -> Limits:
    """The limits of a config."""
    model = cfg.get('model') or {}
    evaluators = []
    for key in ('val_evaluator', 'test_evaluator', 'official_evaluator'):
        evaluator = cfg.get(key) or []
        evaluators += metrics_of(evaluator)
    max_dets = [
        metric.get('max_dets', COCO_DETECTIONS)
        for metric in evaluators
        if str(metric.get('type')).split('.')[-1] == 'InstanceAP'
    ]
    return Limits(
        (model.get('panoptic_head') or {}).get('num_queries'),
        (model.get('text_mapper') or {}).get('num_context'),
        (model.get('test_cfg') or {}).get('max_per_image'),
        min(max_dets, default=None),
    )


@dataclass(frozen=True)
class Peak:
    """The image with most objects.

    Attributes:
        count: Number of its objects.
        img_id: Id of the image.
        label: Label of the objects, if they are of one class.
    """

    count: int = 0
    img_id: int | str | None = None
    label: int | None = None


@dataclass(frozen=True)
class Peaks:
    """The images with most objects of a dataset.

    Attributes:
        targets: Most segments that are not crowds.
        things: Most things among them.
        of_class: Most things of one class.
    """

    targets: Peak = Peak()
    things: Peak = Peak()
    of_class: Peak = Peak()


def find_peaks(
    images: Iterable[tuple[int | str, Sequence[int]]], is_thing: Sequence[bool]
) -> Peaks:
    """Find the images with most objects.

    Args:
        images: Id and labels of the segments that are not crowds.
        is_thing: Whether each label is a thing.
    """
    targets = things = of_class = Peak()
    for img_id, labels in images:
        counts = Counter(label for label in labels if is_thing[label])
        if len(labels) > targets.count:
            targets = Peak(len(labels), img_id)
        if counts.total() > things.count:
            things = Peak(counts.total(), img_id)
        for label, count in counts.most_common(1):
            if count > of_class.count:
                of_class = Peak(count, img_id, label)
    return Peaks(targets, things, of_class)


def peaks_of_list(data_list: Iterable[Mapping], is_thing: Sequence[bool]) -> Peaks:
    """The images with most objects of a dataset, from its JSON.

    Args:
        data_list: Samples with ``img_id`` and ``segments_info``.
        is_thing: Whether each label is a thing.
    """

    def candidates() -> Iterator[tuple[int | str, list[int]]]:
        most = (
            0  # of one class: an image of fewer segments cannot be a peak, and is not looked into
        )
        for data in data_list:
            segments = data.get('segments_info') or ()
            if len(segments) > most:
                labels = [s['label'] for s in segments if not s['iscrowd']]
                counts = Counter(label for label in labels if is_thing[label])
                most = max(most, max(counts.values(), default=0))
                yield data['img_id'], labels

    return find_peaks(candidates(), is_thing)


def _count_above(limit: int, counts: Sequence[int] | None) -> str:
    if counts is None:
        return 'there are images with'
    return f'{sum(count > limit for count in counts)} of {len(counts)} images have'


def limit_notes(
    limits: Limits,
    peaks: Peaks,
    classes: Sequence[str],
    counts: Mapping[str, Sequence[int]] | None = None,
) -> list[str]:
    """A note for each limit that is lower than a peak, with the setting to change.

    Args:
        limits: Limits of model and metrics.
        peaks: Peaks of the dataset.
        classes: Names of the classes.
        counts: Number of objects in each image by the names of ``Peaks``, to count images.
    """
    of = counts or {}
    targets, things, same = peaks.targets, peaks.things, peaks.of_class
    queries, context, notes = limits.queries, limits.context, []
    needed = targets.count + (context or 0)
    if queries is not None and targets.count > queries:
        notes.append(
            f'{_count_above(queries, of.get("targets"))} more targets than the model has queries '
            f'({queries}), image id {targets.img_id} has {targets.count}: raise '
            f'model.panoptic_head.num_queries (to {needed} or more), or some cannot be learned'
        )
    elif queries is not None and context is not None and needed > queries:
        prompts = queries - context
        notes.append(
            f'{_count_above(prompts, of.get("targets"))} more targets than prompts ({prompts}: '
            f'model.panoptic_head.num_queries={queries} less model.text_mapper.num_context='
            f'{context}), image id {targets.img_id} has {targets.count}: raise num_queries '
            f'(to {needed} or more), or the text branch does not learn from all'
        )
    if limits.max_per_image is not None and things.count > limits.max_per_image:
        notes.append(
            f'{_count_above(limits.max_per_image, of.get("things"))} more objects than are '
            f'predicted (model.test_cfg.max_per_image={limits.max_per_image}), image id '
            f'{things.img_id} has {things.count}: raise it, or set it to None, which is as many as '
            'queries; the rest is never found'
        )
    if limits.max_dets is not None and same.label is not None and same.count > limits.max_dets:
        notes.append(
            f'{_count_above(limits.max_dets, of.get("of_class"))} more objects of a class than AP '
            f'counts detections (InstanceAP.max_dets={limits.max_dets}), image id {same.img_id} '
            f'has {same.count} of {classes[same.label]!r}: instance/AP cannot reach 100 there; '
            'instance/AP_all, beside it, counts all detections'
        )
    return notes
