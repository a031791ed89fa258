"""What the converter tells of its work."""

from dataclasses import dataclass, field

from ..host.errors import key_list
from .architecture import describe, describe_backbone


@dataclass
class Written:
    """What was written.

    Attributes:
        source: Layout of the source, or of a backbone alone who made it.
        target: Layout of the target.
        model: Config of the model; of a backbone alone its own.
        used: Number of tensors that were carried over.
        num_classes: K, None of a backbone alone.
        unused: Lines about tensors of the source that nothing depends on, or that are rebuilt.
        dropped: Names in the source of the text branch, left out.
        rebuilt: Names in the target that are not in the source.
        fresh: Names of output norms of a backbone that the source does not have.
        notes: Lines about what the source does not tell.
    """

    source: str
    target: str
    model: dict
    used: int
    num_classes: int | None = None
    unused: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    rebuilt: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        described = (
            f'{describe_backbone(self.model)}, a backbone alone'
            if self.num_classes is None
            else f'{describe(self.model)}, {self.num_classes} classes'
        )
        parts = [
            f'{self.source} -> {self.target}: {described}',
            key_list('not needed in the source', self.unused),
            key_list('left out with the text branch', self.dropped),
            key_list('rebuilt in the target', self.rebuilt),
            key_list('not in the source, left to initialisation', self.fresh),
            *self.notes,
            f'{self.used} tensors written',
        ]
        return '\n'.join(part for part in parts if part)
