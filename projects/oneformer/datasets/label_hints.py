"""Hints on label images whose numbers do not fit their dataset, with a remedy.

Nothing here is called as long as all numbers fit.
"""

from collections.abc import Mapping, Sequence

import numpy as np

_MANY = 8  # values without a meaning; an export of labels does not invent so many


def _as_config(values: Sequence[int], names: Sequence[str]) -> str:
    return f'{{{", ".join(f"{v}: {n!r}" for v, n in zip(values, names))}}}'


def suggest_classes(
    values: Sequence[int], classes: Sequence[str], meant: Mapping[int, str] | None = None
) -> str:
    """The options of a ``SemanticDataset`` by which ``values`` would mean classes, in words.

    Args:
        values: Values of the label images.
        classes: Classes that the dataset annotates, in their order.
        meant: Names of the values that mean something already, and keep it.
    """
    values = sorted(values)
    if len(values) == len(classes):
        names, more = classes, ''
    elif len(values) == 2 and len(classes) == 1:
        names = ('background', classes[0])
        more = f", and classes=('background', {classes[0]!r}) in metainfo, here and in the model"
    else:
        meant, more = meant or {}, ''
        names = [*classes, *['...'] * len(values)][: len(values)]
        if meant:
            names = [meant.get(value, '...') for value in values]
    return f'label_classes={_as_config(values, names)}, ignore_index=None in the dataset{more}'


def explain_values(values: np.ndarray, results: Mapping) -> str:
    """Why values of a label image may mean no class.

    Args:
        values: Values of all pixels, of shape (H, W).
        results: The sample, with ``segment_of_value`` and ``segments_info``.

    Returns:
        A sentence with the remedy, or an empty text.
    """
    found, meaning = np.unique(values).tolist(), results['segment_of_value']
    meant = np.count_nonzero(meaning >= 0)
    classes = [segment['category'] for segment in results['segments_info']]
    named = [value for value in found if meaning[value] > 0]
    if len(found) > meant + _MANY:
        return (
            f' It has {len(found)} different values, {meant} mean something: it looks like a '
            'photograph, a label that was resized with interpolation (labels are resized by '
            'nearest neighbour), one that was drawn with smooth edges, or one that was a JPEG '
            'once. Export it again'
        )
    steps = np.diff(found)
    if 2 <= len(found) <= 8 and found[0] == 0 and steps.min() >= 20:
        return (
            f' Its values {found} are grey steps such as masks have: say '
            f'{suggest_classes(found, classes)}'
        )
    if found in ([0, 1], [1]) and len(classes) == 1:
        name = classes[0]
        return (
            f' If 1 is {name!r} and 0 is background, say {suggest_classes([0, 1], [name])}; '
            f'label_classes=(None, {name!r}) makes 0 void'
        )
    last = max(np.flatnonzero(meaning > 0), default=0)
    if named and found[-1] == last + 1 and meaning[0] > 0 and 0 not in found:
        names = ', '.join(repr(name) for name in classes[:3])
        return (
            f' Its values go from {found[0]} to {found[-1]}: if they count classes from 1, say '
            f'label_classes=(None, {names}{", ..." if len(classes) > 3 else ""})'
        )
    return ''


def explain_colors(colors: Sequence[tuple[int, ...]], results: Mapping) -> str:
    """Hint for a dataset whose label images hold colours, the most frequent first."""
    classes = [segment['category'] for segment in results['segments_info']]
    shown = [*classes, *['...'] * len(colors)]
    table = ', '.join(f'{color}: {name!r}' for color, name in zip(colors[:4], shown))
    more = ', ...' if len(colors) > 4 else ''
    return (
        f' If each colour is a class, say label_colors={{{table}{more}}} in the dataset, with the '
        'right name for each (None for void), in place of label_classes'
    )


def _is_listed(ids: np.ndarray, listed: set[int]) -> bool:
    """Whether all ids but void are listed, and some are."""
    found = set(ids.tolist()) - {0}
    return bool(found) and found <= listed


def explain_ids(png: np.ndarray, results: Mapping, alpha: np.ndarray | None = None) -> str:
    """Why ids of a panoptic PNG may not be listed.

    Args:
        png: PNG with blue first, uint8 of shape (H, W, 3).
        results: The sample, with ``segments_info``, ``void_ids`` and ``category_ids``.
        alpha: Alpha channel of the PNG, of shape (H, W), if it has one.

    Returns:
        A sentence with the remedy, or an empty text.
    """
    ids = np.unique(png.reshape(-1, 3) @ np.array([65536, 256, 1]))
    swapped = ids % 256 * 65536 + ids // 256 % 256 * 256 + ids // 65536
    listed = {segment['id'] for segment in results['segments_info']} | set(results['void_ids'])
    categories = set(results.get('category_ids') or ())
    if _is_listed(swapped, listed):
        return (
            'They are listed if red and blue change places: the PNG was written with its colours '
            'in the other order (B + 256 G + 65536 R). Write it again with red first; '
            'cv2.imwrite, which takes blue first, needs id2rgb(ids)[..., ::-1]'
        )
    if alpha is not None and len(np.unique(alpha)) > 1 and ids.max() < 1 << 16:
        return (
            'Its alpha channel has several values, as in the bitmasks of BDD100K (red is the '
            'category, green holds attributes, blue and alpha the number of the object), which '
            'hold no segment ids. Give each pair of category (red) and object (256 * blue + alpha) '
            'an id of its own, list it in segments_info, and write the ids as R + 256 G + 65536 B'
        )
    if _is_listed(ids, categories):
        return (
            'They are ids of categories: it looks like a semantic label PNG. Paint each object '
            'with the id of its segment, or train on such PNGs by a SemanticDataset'
        )
    for offset in (1, -1):
        if _is_listed(ids[ids > 0] + offset, listed):
            return (
                f'They are listed if {abs(offset)} is {"added" if offset > 0 else "subtracted"}: '
                'count alike in the PNG and in the JSON (0 is void)'
            )
    return ''
