"""Whether the tensors of a checkpoint fit a model, by name and shape, and what to change if not."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..class_matching import first_lines
from .architecture import (
    CLASS_HEAD,
    Shapes,
    backbone_config,
    config_beside_backbone,
    has_text_branch,
    in_text_branch,
)
from .layout import rebuilt_by_us


class Comparison(NamedTuple):
    """Names of tensors that a checkpoint lacks, has too many, and has in another shape."""

    missing: list[str]
    unknown: list[str]
    misshapen: list[str]


def compare(theirs: Shapes, ours: Shapes) -> Comparison:
    """Compare the tensors of a checkpoint with those of a model, but for those that are rebuilt."""
    theirs = {key: shape for key, shape in theirs.items() if not rebuilt_by_us(key)}
    ours = {key: shape for key, shape in ours.items() if not rebuilt_by_us(key)}
    return Comparison(
        missing=[key for key in ours if key not in theirs],
        unknown=[key for key in theirs if key not in ours],
        misshapen=[key for key, shape in ours.items() if theirs.get(key, shape) != shape],
    )


def _differences(theirs: Mapping, ours: Mapping, name: str) -> Iterator[str]:
    """Options of one config that differ in another, with the values of the first."""
    for key in theirs.keys() & ours.keys() - {'metainfo'}:
        if isinstance(theirs[key], Mapping) and isinstance(ours[key], Mapping):
            yield from _differences(theirs[key], ours[key], f'{name}.{key}')
        elif theirs[key] != ours[key]:
            yield f'{name}.{key}={theirs[key]}'.replace(' ', '')


def _comparable(theirs: Shapes, ours: Shapes) -> tuple[Shapes, Shapes]:
    """The same, but with as many classes as the checkpoint, and no text branch if ours has none."""
    if rows := theirs.get(CLASS_HEAD[1], ())[:1]:
        ours = {**ours, **{key: rows + ours[key][1:] for key in CLASS_HEAD}}
    if not has_text_branch(ours):
        theirs = {key: shape for key, shape in theirs.items() if not in_text_branch(key)}
    return theirs, ours


def config_advice(theirs: Shapes, ours: Shapes) -> list[str]:
    """Lines that tell what to change in the config of a model for a checkpoint of these shapes."""
    theirs, ours = _comparable(theirs, ours)
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
    fixed = [
        key
        for name in ('positional_embedding', 'token_embedding.weight')
        if (key := f'text_mapper.text_encoder.{name}') in theirs.keys() & ours.keys()
        and theirs[key][0] != ours[key][0]
    ]
    if fixed:
        lines.append(
            f'The length of texts and the vocabulary are fixed ({", ".join(fixed)}): start the '
            'text branch afresh, from the file that python tools/convert_checkpoint.py SRC DST '
            '--drop-text-branch writes'
        )
    return lines


def misfits(theirs: Shapes, ours: Shapes) -> list[str]:
    """Compare names and shapes of a checkpoint with those of a model, but for number of classes.

    Tensors that the model rebuilds itself may be missing. Those of the text branch may be there for
    a model that has none.

    Returns:
        Lines that name the tensors, none if everything fits.
    """
    theirs, ours = _comparable(theirs, ours)
    missing, unknown, misshapen = compare(theirs, ours)
    wrong = [
        f'{key}: {theirs[key]} in the checkpoint, {ours[key]} in the model' for key in misshapen
    ]
    lines = []
    for title, names in (
        ('not in the model', unknown),
        ('missing in the checkpoint', missing),
        ('of another shape', wrong),
    ):
        if names:
            lines += [f'{title} ({len(names)}):', *first_lines(names)]
    return lines
