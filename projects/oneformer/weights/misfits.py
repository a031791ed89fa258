"""Whether tensors fit a model, by name and shape, and what to change in its config if not."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from ..host.errors import first_lines
from .architecture import (
    CLASS_HEAD,
    backbone_config,
    config_beside_backbone,
    has_text_branch,
    in_text_branch,
)
from .encoder_only import MASK_PROBABILITIES
from .reading import Weights
from .rules import rebuilt_by_us
from .shapes import Shapes, shapes_of


def comparable(theirs: Shapes, ours: Shapes) -> tuple[Shapes, Shapes]:
    """The same, but with as many classes as the file, and no text branch if ours has none.

    Weights that need their masks fit a model that may do without.
    """
    if rows := theirs.get(CLASS_HEAD[1], ())[:1]:
        ours = {**ours, **{key: rows + ours[key][1:] for key in CLASS_HEAD}}
    if not has_text_branch(ours):
        theirs = {key: shape for key, shape in theirs.items() if not in_text_branch(key)}
    if MASK_PROBABILITIES not in theirs:
        ours = {key: shape for key, shape in ours.items() if key != MASK_PROBABILITIES}
    return theirs, ours


def misfits(
    weights: Weights, tensors: Mapping[str, Tensor], ours: Shapes, every: bool = False
) -> list[str]:
    """Lines that name what does not fit a model, by the names in the file; none if all fits.

    Args:
        weights: What was read.
        tensors: Tensors that the model gets, or what stands for them.
        ours: Shape of each tensor of the model, by name; see ``comparable`` for what may differ.
        every: Name all tensors, and not only the first.
    """
    theirs, ours = (
        {key: shape for key, shape in shapes.items() if not rebuilt_by_us(key)}
        for shapes in (shapes_of(tensors), ours)
    )
    missing = [key for key in ours if key not in theirs]
    unknown = [key for key in theirs if key not in ours]

    def name(key: str) -> str:
        return ' + '.join(weights.source_names(key))

    misshapen = [
        f'{name(key)}: {theirs[key]} in the checkpoint, {shape} in the model'
        for key, shape in ours.items()
        if theirs.get(key, shape) != shape
    ]
    names = (name for key in missing for name in weights.source_names(key))
    lines = []
    for title, listed in (
        ('not in the model', [*weights.unknown, *map(name, unknown)]),
        ('missing in the checkpoint', [name for name in names if name not in weights.keys]),
        ('of another shape', [*weights.broken, *misshapen]),
    ):
        if listed:
            shown = [f'  {line}' for line in listed] if every else first_lines(listed)
            lines += [f'{title} ({len(listed)}):', *shown]
    return lines


def _differences(theirs: Mapping, ours: Mapping, name: str) -> Iterator[str]:
    """Options of one config that differ in another, with the values of the first."""
    for key in theirs.keys() & ours.keys() - {'metainfo'}:
        if isinstance(theirs[key], Mapping) and isinstance(ours[key], Mapping):
            yield from _differences(theirs[key], ours[key], f'{name}.{key}')
        elif theirs[key] != ours[key]:
            yield f'{name}.{key}={theirs[key]}'.replace(' ', '')


def config_advice(theirs: Shapes, ours: Shapes) -> list[str]:
    """Lines that tell what to change in the config of a model for tensors of these shapes."""
    lines, options = [], []
    for read, name in ((config_beside_backbone, 'model'), (backbone_config, 'model.backbone')):
        try:
            options += sorted(_differences(read(theirs), read(ours), name))
        except (LookupError, ValueError):
            continue  # too much is missing, or the backbone is none that is recognised
    if options:
        lines.append(f'To use this checkpoint: --cfg-options {" ".join(options)}')
    own = {key: shape for key, shape in ours.items() if key.startswith('backbone.')}
    if any(theirs.get(key) != shape for key, shape in own.items() if not rebuilt_by_us(key)):
        lines.append('The backbone is another one: set model.backbone as in its config')
    if MASK_PROBABILITIES in theirs and MASK_PROBABILITIES not in ours:
        spans = [[0, 1]] * theirs[MASK_PROBABILITIES][0]
        lines.append(
            'The weights may predict without attention masks: set '
            f'model.panoptic_head.mask_annealing=dict(spans={spans}) to let them'
        )
    fixed = [
        key
        for name in ('positional_embedding', 'token_embedding.weight')
        if (key := f'text_mapper.text_encoder.{name}') in theirs.keys() & ours.keys()
        and theirs[key][0] != ours[key][0]
    ]
    if fixed:
        lines.append(
            f'The length of texts and the vocabulary are fixed ({", ".join(fixed)}): start the '
            'text branch afresh, by --cfg-options '
            'default_hooks.weights.fresh=[text_mapper.,contrastive_loss.]'
        )
    return lines
