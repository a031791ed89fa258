"""The report of a conversion: objects of each class in each part, and what was left out."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from .annotated import Category
from .outputs import Part
from .splitting import order_splits

_EXAMPLES = 3


def describe(
    parts: Mapping[str, Part],
    part_of: Mapping[str, str],
    categories: Sequence[Category],
    notes: Sequence[str],
) -> str:
    """A table of classes and parts, then what a user should know.

    Args:
        parts: Converted images by name.
        part_of: Names of the parts (train, val ...) by name of the image.
        categories: Classes of the result.
        notes: Sentences about the source and the division.
    """
    splits = order_splits(part_of.values())
    counts = {split: Counter() for split in splits}
    images = Counter(part_of.values())
    for name, split in part_of.items():
        counts[split].update(parts[name].counts)
    width = max([len('images'), *(len(category.name) for category in categories)])
    lines = [' ' * width + ''.join(f'{split:>9}' for split in splits)]
    lines.append(f'{"images":{width}}' + ''.join(f'{images[split]:9}' for split in splits))
    for category in categories:
        cells = ''.join(f'{counts[split][category.name]:9}' for split in splits)
        lines.append(f'{category.name:{width}}{cells}')
    for split in splits:
        absent = [c.name for c in categories if not counts[split][c.name]]
        if absent:
            lines.append(f'note: {split} has nothing of {", ".join(absent)}')
    empty = sum(not parts[name].counts for name in part_of)
    if empty:
        lines.append(f'note: {empty} images have no region and are kept as images of nothing')
    unlabelled = [parts[name].unlabelled for name in part_of]
    if max(unlabelled, default=0) > 0:
        share = sum(unlabelled) / len(unlabelled)
        lines.append(
            f'note: {share:.1%} of the pixels have no label and teach nothing (--background NAME '
            'makes them a class)'
        )
    lines += [f'note: {note}' for note in notes]
    return '\n'.join(lines + _describe_losses(parts, part_of))


def _describe_losses(parts: Mapping[str, Part], part_of: Mapping[str, str]) -> list[str]:
    messages = defaultdict(list)
    for name in part_of:
        for kind, message in parts[name].losses:
            messages[kind].append(message)
    lines = []
    for kind, found in messages.items():
        lines.append(f'left out: {kind}, {len(found)} times, such as')
        lines += [f'  {message}' for message in found[:_EXAMPLES]]
    return lines
