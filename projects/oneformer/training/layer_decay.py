"""The layers of a backbone, for learning rates that decay from its last layer to its first.

Layer 0 are the embeddings, and all that comes before the first block; layer i is block i, counted
from 1 over all stages; layer N + 1 is what follows the last block, such as norms of the outputs and
a pyramid. What stands between two stages belongs to the block before it. So it is in mmpretrain,
whose backbones are asked for theirs: its ConvNeXt counts three blocks of the third stage as one.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from torch import nn

# last names of parameters that are positions or tokens, wherever they stand
EMBEDDINGS = frozenset(
    {
        *('pos_embed', 'absolute_pos_embed', 'cls_token', 'dist_token', 'mask_token'),
        *('reg_token', 'register_tokens', 'storage_tokens', 'task_token'),
    }
)
_LISTS_OF_BLOCKS = (
    re.compile(r'(?:^|\.)(?:stages|levels|layers|blocks)[._](\d+)\.(?:blocks\.)?(\d+)\.'),
    re.compile(r'(?:^|\.)layer(\d+)\.(\d+)\.'),
    re.compile(r'(?:^|\.)(?:blocks|layers)\.(\d+)\.'),
)
_NECK = re.compile(r'(?:^|\.)(?:pyramid|neck|fpn)\.')  # behind a network, and has levels of its own
_NUMBER = re.compile(r'(?:^|[._])\d+(?:\.|$)')


def _blocks_of(names: Sequence[str]) -> dict[str, re.Match]:
    """Where the names say which block they are in; a list inside of a block has none."""
    for pattern in _LISTS_OF_BLOCKS:
        found = {
            name: match
            for name in names
            if not _NECK.search(name) and (match := pattern.search(name))
        }
        blocks = {n: m for n, m in found.items() if not _NUMBER.search(n[: m.start()])}
        if blocks:
            return blocks
    return {}


def layers_by_name(names: Sequence[str]) -> tuple[dict[str, int], int]:
    """The layer of each parameter of a backbone, told from their names and order.

    Args:
        names: Names of all parameters, trained or not, as ``named_parameters`` lists them.

    Returns:
        Layer by name, and the number of blocks N; nothing and 0 if names do not tell the blocks, or
        only those of a first part.
    """
    blocks = _blocks_of(names)
    numbers = {name: tuple(map(int, match.groups())) for name, match in blocks.items()}
    order = {number: place for place, number in enumerate(sorted(set(numbers.values())), 1)}
    if not order:
        return {}, 0
    first = next(iter(blocks))
    network = first[: blocks[first].start()]  # 'vit', if the backbone has its network there
    layers, current = {}, 0
    for name in names:
        if name in blocks:
            layers[name] = current = order[numbers[name]]
        elif name.split('.')[-1] in EMBEDDINGS:
            layers[name] = 0
        elif current == len(order) or not name.startswith(network) or _NECK.search(name):
            layers[name] = len(order) + 1
        else:
            layers[name] = current
    behind = [n for n in names if layers[n] > len(order) and not _NECK.search(n)]
    return (layers, len(order)) if len(behind) <= len(blocks) else ({}, 0)


def layers_of(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """The layer of each parameter of a backbone, and the number of blocks N.

    Raises:
        ValueError: If neither the backbone nor the names of its parameters tell layers.
    """
    names = [name for name, _ in backbone.named_parameters()]
    if hasattr(backbone, 'get_layer_depth'):
        depths = {name: backbone.get_layer_depth(name) for name in names}
        (count,) = {count for _, count in depths.values()}
        layers = {
            name: 0 if name.split('.')[-1] in EMBEDDINGS else depths[name][0] for name in names
        }
        return layers, count - 2
    layers, blocks = layers_by_name(names)
    if not blocks:
        raise ValueError(
            f'optim_wrapper.paramwise_cfg.layer_decay: the parameters of {type(backbone).__name__} '
            f'({", ".join(names[:3])}, ...) do not tell layers, by blocks.N, stages.N.N or the '
            'like. Set layer_decay=1.0 for one rate, by backbone_lr_mult, for the whole backbone'
        )
    return layers, blocks


def group_table(groups: Sequence[Mapping], names: Mapping[int, str]) -> str:
    """Parameter groups as a table: layer, learning rate, weight decay, numbers, first names.

    Args:
        groups: Groups of an optimizer, with the key ``layer``: None outside of the backbone.
        names: Name of each parameter by its ``id``.
    """
    rows = [('layer', 'lr', 'weight decay', 'tensors', 'values', 'such as')]
    by_layer = defaultdict(list)
    for group in groups:
        by_layer[group['layer']].append(group)
    for layer in sorted(by_layer, key=lambda layer: (layer is None, layer)):
        for group in by_layer[layer]:
            first = [names[id(parameter)] for parameter in group['params'][:2]]
            rows.append(
                (
                    'head' if layer is None else str(layer),
                    f'{group["lr"]:.3e}',
                    f'{group["weight_decay"]:g}',
                    str(len(group['params'])),
                    f'{sum(parameter.numel() for parameter in group["params"]):,}',
                    ', '.join(first),
                )
            )
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ('  '.join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows)
    return '\n'.join(line.rstrip() for line in lines)
