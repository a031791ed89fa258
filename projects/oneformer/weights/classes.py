"""Of which classes the rows of a class head are: what weights say, and how a model's own relate."""

import logging
from collections.abc import Mapping, Sequence

from mmengine.logging import print_log
from torch import Tensor

from ..class_matching import match_classes
from ..host.errors import CheckpointError, first_lines
from ..host.sharding import is_sharded
from ..metainfo import KNOWN_DATASETS, known_dataset_of_size, resolve_metainfo
from .architecture import CLASS_HEAD
from .huggingface_config import classes_in
from .reading import Weights

_COCO_THINGS = tuple(KNOWN_DATASETS['coco']['thing_classes'])  # all classes of instance models


def count_classes(weights: Weights) -> int:
    """K, of the class head, which has one row more for "no object".

    Raises:
        CheckpointError: If there is none.
    """
    bias = weights.tensors.get(CLASS_HEAD[1])
    if bias is None:
        raise CheckpointError(
            f'{weights.path} has no {" + ".join(weights.source_names(CLASS_HEAD[1]))}: it is '
            'incomplete, or of another version'
        )
    return len(bias) - 1


def classes_of(
    weights: Weights,
    expected: Mapping | None = None,
    remedy: str = 'give the config that it was trained with',
) -> dict:
    """Metainfo of the classes of weights.

    Args:
        weights: Weights with a class head; they may name the classes beside it, or in config.json.
        expected: Metainfo of the model that they are for. If nothing names the classes, they are
            taken to be these if there are as many, or else those of the dataset that has as many,
            which is logged.
        remedy: What to do if nothing names them.

    Returns:
        ``classes``, and ``thing_classes`` unless nothing tells them.

    Raises:
        CheckpointError: If the classes are not known, or are not as many as the head has.
    """
    num_classes = count_classes(weights)
    dataset = known_dataset_of_size(num_classes)
    known: dict[str, dict] = (
        {'the config': dict(expected)}
        if expected and len(expected['classes']) == num_classes
        else {}
    )
    if dataset:
        known[dataset] = resolve_metainfo(dataset)
    if num_classes == len(_COCO_THINGS):
        known['the things of coco'] = dict(classes=_COCO_THINGS, thing_classes=_COCO_THINGS)
    named, where = weights.dataset_meta, 'meta.dataset_meta'
    if not named.get('classes'):
        named, where = classes_in(weights.config), 'config.json'
    if not named and not known:
        raise CheckpointError(
            f'{weights.path} does not name its {num_classes} classes'
            + (f', and the config has {len(expected["classes"])}' if expected else '')
            + f', which are not those of a dataset: {remedy}'
        )
    if not named:
        whose, metainfo = next(iter(known.items()))
        text = f'the checkpoint does not name its {num_classes} classes: they are taken to be those'
        print_log(f'{text} of {whose}', logger='current', level=logging.WARNING)
        return metainfo
    if len(named['classes']) != num_classes:
        raise CheckpointError(
            f'the class head of the checkpoint has {num_classes} classes, but its {where} names '
            f'{len(named["classes"])}'
        )
    if 'thing_classes' in named:
        return resolve_metainfo(named)
    same = (m for m in known.values() if match_classes(named, m) == list(range(num_classes)))
    return next(same, dict(named))


def classes_to_predict(weights: Weights, configured: Mapping | str | None) -> dict:
    """Metainfo of predictions: the classes that weights name, which a config may name otherwise.

    Args:
        weights: See ``classes_of``.
        configured: ``model.metainfo`` of a config, None without one.

    Raises:
        CheckpointError: If config and class head have different numbers of classes, or if nothing
            names the classes or the things.
    """
    num_classes, path = count_classes(weights), weights.path
    if configured is not None:
        configured = resolve_metainfo(configured)
        if len(configured['classes']) != num_classes:
            raise CheckpointError(
                f'{path} has {num_classes} classes, but the config {len(configured["classes"])}: '
                'give the config that it was trained with, or train it on the classes of this one '
                'first'
            )
    metainfo = classes_of(weights, configured)
    if 'thing_classes' not in metainfo:
        raise CheckpointError(
            f'{path} does not name its things (meta.dataset_meta): give the config that it was '
            'trained with'
        )
    if configured is not None and (difference := class_difference(metainfo, configured)):
        print_log(
            f'{path}: {difference}. Predictions have the names of the checkpoint',
            logger='current',
            level=logging.WARNING,
        )
    return {'palette': (configured or {}).get('palette'), **metainfo}


def class_difference(source: Mapping, target: Mapping) -> str | None:
    """What metainfo of weights and of a model differ in, None for the same classes in order."""
    theirs, ours = source['classes'], target['classes']
    matches = match_classes(source, target)
    if len(theirs) == len(ours) and matches == list(range(len(ours))):
        return None
    pairs = [
        f'class {label} is {theirs[label]!r} in the checkpoint, {ours[label]!r} in the config'
        for label, match in enumerate(matches)
        if match != label and label < len(theirs)
    ]
    title = (
        f'the checkpoint was trained on {len(theirs)} classes, the config has {len(ours)}, '
        'and they are not the same in the same order'
    )
    return '\n'.join([title, *first_lines(pairs)])


def class_table(source: Sequence[str], target: Sequence[str], rows: Sequence[int | None]) -> str:
    """Tell which row of the class head comes from where.

    Args:
        source: Classes of the weights.
        target: Classes of the model.
        rows: Label in the weights, or None, for each class of the model.
    """
    if list(rows) == list(range(len(source))):
        return f'class head: all {len(target)} classes are those of the checkpoint'
    new = rows.count(None)
    width = max(map(len, target))
    lines = [
        f'class head: {len(target) - new} of {len(target)} classes re-used by name, {new} new, '
        f'{len(source) - len(set(rows) - {None})} of the {len(source)} in the checkpoint not used',
        f'  {"class":{width}}  in the checkpoint',
    ]
    for name, row in zip(target, rows):
        shared = ' (also for others)' if row is not None and rows.count(row) > 1 else ''
        lines.append(f'  {name:{width}}  {"- (new)" if row is None else source[row] + shared}')
    return '\n'.join([*lines, f'  {"no object":{width}}  no object'])


def reuse_rows(pretrained: Tensor, fresh: Tensor, rows: Sequence[int | None]) -> Tensor:
    """Rows of a class head by class, the last one, "no object", always from the weights.

    Args:
        pretrained: Weight or bias of the file, its first axis of classes and "no object".
        fresh: Tensor of the model, newly initialised.
        rows: Row in ``pretrained`` for each class of the model, or None to keep ``fresh``.
    """
    if is_sharded(fresh):
        fresh = fresh.full_tensor()
    reused = fresh.detach().to(pretrained, copy=True)
    for label, row in enumerate([*rows, -1]):
        if row is not None:
            reused[label] = pretrained[row]
    return reused


def meta_of(weights: Weights) -> dict:
    """Metainfo as mmengine keeps it, with the classes if anything tells them."""
    try:
        return dict(dataset_meta=classes_of(weights), backbone=weights.backbone_options)
    except CheckpointError:
        return dict(backbone=weights.backbone_options)
