"""The names of one library for the tensors of a OneFormer, as rules that are read both ways."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from ..host.errors import CheckpointError, key_list

_FIELDS = dict(i=r'\d+', j=r'\d+', leaf=r'\w+', rest=r'.+')


def template_pattern(template: str) -> re.Pattern:
    """Compile a template to a pattern with one group per field."""
    parts = re.split(r'\{(\w+)\}', template)
    for n in range(0, len(parts), 2):
        parts[n] = re.escape(parts[n])
    for n in range(1, len(parts), 2):
        parts[n] = f'(?P<{parts[n]}>{_FIELDS[parts[n]]})'
    return re.compile(''.join(parts))


def unfold_order(tensor: Tensor) -> Tensor:
    """Reorder the last axis of Swin's patch merging to mmdet's, whose Unfold is channel-major.

    The original stacks whole pixels in the order (0, 0), (1, 0), (0, 1), (1, 1) of (row, column).
    """
    if tensor.shape[-1] % 4:
        return tensor  # a wrong shape, which is reported later
    pixels = tensor.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return pixels.transpose(-1, -2).flatten(-2)


def pixel_order(tensor: Tensor) -> Tensor:
    """The inverse of ``unfold_order``."""
    pixels = tensor.unflatten(-1, (-1, 4)).transpose(-1, -2)
    return pixels[..., [0, 2, 1, 3], :].flatten(-2)


@dataclass(frozen=True)
class Rule:
    """One foreign tensor, or several stacked on their first axis, that are one of ours.

    Attributes:
        parts: Templates of the foreign names, several if they are stacked.
        ours: Template of our name, with the same fields.
        to_ours: Change of the values.
        to_foreign: The inverse of ``to_ours``.
    """

    parts: tuple[str, ...]
    ours: str
    to_ours: Callable[[Tensor], Tensor] = lambda tensor: tensor
    to_foreign: Callable[[Tensor], Tensor] = lambda tensor: tensor

    @cached_property
    def patterns(self) -> tuple[re.Pattern, ...]:
        """Patterns of ``parts``."""
        return tuple(map(template_pattern, self.parts))

    @cached_property
    def our_pattern(self) -> re.Pattern:
        """Pattern of ``ours``."""
        return template_pattern(self.ours)


def rules_of(
    rows: Iterable[tuple], column: int, changes: Mapping[str, tuple[Callable, Callable]]
) -> list[Rule]:
    """Rules of one column of a table of names, see ``names``.

    Args:
        rows: Names, ours first, in which ``*`` is ``{leaf}`` and ``**`` is ``{rest}``. A row whose
            first name is empty or ends with a dot has what goes before the names of the rows below.
        column: Index of the foreign names; where a row has None there, or ends before, they have
            no such tensor.
        changes: Functions of the values by our name: to ours, and back.
    """
    rules: list[Rule] = []
    prefixes: tuple = ()
    for row in rows:
        if row[0] == '' or row[0].endswith('.'):
            prefixes = row
            continue
        prefix, theirs = (
            cells[column] if column < len(cells) else None for cells in (prefixes, row)
        )
        if prefix is not None and theirs is not None:
            names = (theirs,) if isinstance(theirs, str) else theirs
            ours, *foreign = (
                name.replace('**', '{rest}').replace('*', '{leaf}')
                for name in (prefixes[0] + row[0], *(prefix + name for name in names))
            )
            rules.append(Rule(tuple(foreign), ours, *changes.get(ours, ())))
    return rules


@dataclass
class Translation:
    """A state dict under other names.

    Attributes:
        tensors: Tensors by their new names.
        unused: Names in the source of what nothing depends on, or what is rebuilt from the rest.
        unknown: Names in the source that no rule knows.
        broken: Lines about tensors that cannot be stacked, since one lacks or the shapes differ.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@dataclass
class Prepared:
    """Foreign tensors of which each is one of ours, or a part of one, after what a rule cannot say.

    Attributes:
        tensors: Tensors by foreign names.
        unused: See ``Translation``.
        broken: See ``Translation``.
    """

    tensors: dict[str, Tensor]
    unused: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Backbone:
    """Names of a backbone.

    Attributes:
        name: Name for messages.
        mark: A foreign key that only this backbone has.
        rules: Rules of all its tensors.
        more_marks: Other keys that only it has, for files that lack the first.
        prepare: What is done to all tensors at once before their names are changed.
        has_teacher: Whether of a student and its average in one file the teacher is published.
    """

    name: str
    mark: str
    rules: Sequence[Rule]
    more_marks: tuple[str, ...] = ()
    prepare: Callable[[Mapping[str, Tensor]], Prepared] | None = None
    has_teacher: bool = False

    def alone(self, prefix: str, name: str) -> 'Backbone':
        """The names without what goes before them inside a model."""
        rules = [
            replace(rule, parts=tuple(part.removeprefix(prefix) for part in rule.parts))
            for rule in self.rules
        ]
        return Backbone(name, self.mark.removeprefix(prefix), rules)


@dataclass(frozen=True)
class Layout:
    """All names of one library.

    Attributes:
        name: Name for messages.
        head: Rules of everything but the backbone.
        backbones: Backbones; of two spellings of one the first is written.
        unused: Templates of foreign names that the function does not depend on, or that are
            rebuilt.
    """

    name: str
    head: Sequence[Rule]
    backbones: Sequence[Backbone]
    unused: Sequence[str]

    def rules_for(self, keys: Iterable[str]) -> list[Rule]:
        """Rules for a foreign state dict; those of the head alone if its backbone is unknown."""
        for backbone in self.backbones:
            if backbone.mark in keys:
                return [*self.head, *backbone.rules]
        return list(self.head)

    def _our_rules(self, keys: Iterable[str]) -> list[Rule]:
        """Rules for one of our state dicts, with those of the first backbone that fits."""
        ours = [key for key in keys if key.startswith('backbone.') and not rebuilt_by_us(key)]
        for backbone in self.backbones:
            if all(foreign_names(backbone.rules, key) for key in ours):
                return [*self.head, *backbone.rules]
        known = ', '.join(backbone.name for backbone in self.backbones)
        raise CheckpointError(f'{self.name} has no names for this backbone, only for {known}')

    def to_ours(
        self, state_dict: Mapping[str, Tensor], backbone: Backbone | None = None
    ) -> Translation:
        """Rename foreign tensors, those of a backbone alone by its rules."""
        translation = Translation()
        rules = self.rules_for(state_dict) if backbone is None else list(backbone.rules)
        if backbone is not None and backbone.prepare is not None:
            prepared = backbone.prepare(state_dict)
            state_dict = prepared.tensors
            translation.unused += prepared.unused
            translation.broken += prepared.broken
        unused = [template_pattern(template) for template in self.unused]
        done = set()
        for key in state_dict:
            if key in done:
                continue
            if any(pattern.fullmatch(key) for pattern in unused):
                translation.unused.append(key)
                continue
            rule, fields = _find(rules, key, lambda rule: rule.patterns)
            if rule is None:
                translation.unknown.append(key)
                continue
            names = [part.format(**fields) for part in rule.parts]
            done.update(names)
            shapes = [tuple(state_dict[name].shape) for name in names if name in state_dict]
            if lost := [name for name in names if name not in state_dict]:
                there = [name for name in names if name in state_dict]
                translation.broken.append(f'{", ".join(lost)}: missing beside {", ".join(there)}')
                continue
            if len(set(shapes)) > 1:
                translation.broken.append(f'{" + ".join(names)}: {shapes}, expected equal shapes')
                continue
            ours = rule.ours.format(**fields)
            if ours in translation.tensors:
                translation.broken.append(f'{" + ".join(names)}: the same tensor as another one')
                continue
            parts = [state_dict[name] for name in names]
            tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
            translation.tensors[ours] = rule.to_ours(tensor)
        return translation

    def to_foreign(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename our tensors, which must be none that ``rebuilt_by_us`` names.

        Raises:
            CheckpointError: If the layout has no name for one of them.
        """
        foreign, unknown = {}, []
        rules = self._our_rules(state_dict)
        for key, tensor in state_dict.items():
            rule, fields = _find(rules, key)
            if rule is None:
                unknown.append(key)
                continue
            tensor = rule.to_foreign(tensor)
            parts = tensor.chunk(len(rule.parts)) if len(rule.parts) > 1 else [tensor]
            for template, part in zip(rule.parts, parts):
                # a part shares memory with its neighbours, which safetensors does not write
                part = part.clone() if len(parts) > 1 else part.contiguous()
                foreign[template.format(**fields)] = part
        if unknown:
            raise CheckpointError(key_list(f'{self.name} has no names for', unknown))
        return foreign


def rebuilt_by_us(key: str) -> bool:
    """Whether one of our tensors follows from the architecture, or is for its training alone."""
    return key.startswith('contrastive_loss.memory_') or key.endswith(
        ('.relative_position_index', '.num_batches_tracked')
    )


def foreign_names(rules: Iterable[Rule], key: str, keys: Iterable[str] = ()) -> list[str]:
    """Foreign names that make up one of our tensors; none if no rule knows it.

    Args:
        rules: Rules of a library.
        key: Our name.
        keys: Foreign names in a file. Of several rules for our name one counts that it uses.
    """
    matches = [(rule, match) for rule in rules if (match := rule.our_pattern.fullmatch(key))]
    used = (
        (rule, match)
        for rule, match in matches
        if any(pattern.fullmatch(name) for pattern in rule.patterns for name in keys)
    )
    for rule, match in (*([] if len(matches) < 2 else used), *matches):
        return [part.format(**match.groupdict()) for part in rule.parts]
    return []


def _find(
    rules: Iterable[Rule], key: str, patterns: Callable = lambda rule: [rule.our_pattern]
) -> tuple[Rule | None, dict[str, str]]:
    for rule in rules:
        for pattern in patterns(rule):
            if match := pattern.fullmatch(key):
                return rule, match.groupdict()
    return None, {}
