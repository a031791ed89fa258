"""Faults of labels: a dataset raises the first error, the checker collects all."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from mmengine.logging import print_log

ERROR, WARNING = 'error', 'warning'


@dataclass(frozen=True)
class Finding:
    """One fault of the labels.

    Attributes:
        kind: A few words that group findings.
        message: Sentence that names the file and the id, and says what to do.
        file: The faulty file.
        id: Id of the image, annotation, segment or category that the message is about, or a value.
        severity: ``ERROR`` if training would stop or learn what is wrong, else ``WARNING``.
    """

    kind: str
    message: str
    file: str
    id: int | str | None = None
    severity: str = ERROR


OnFinding = Callable[[Finding], None]


def refuse(finding: Finding) -> None:
    """Raise errors as ValueError and ignore warnings, as datasets do."""
    if finding.severity == ERROR:
        raise ValueError(finding.message)


class Said:
    """Raises errors as ValueError, and says warnings in one line of the log per file and kind.

    Datasets use it when they are built: training should neither hide a warning nor start with
    a thousand of them.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], list] = {}

    def __call__(self, finding: Finding) -> None:
        """Raise an error, keep a warning."""
        refuse(finding)
        seen = self._found.setdefault((finding.file, finding.kind), [finding.message, 0])
        seen[1] += 1

    def say(self) -> None:
        """Log the kept warnings, and clear them."""
        for (_, kind), (first, count) in self._found.items():
            more = f' (and {count - 1} more: {kind}; oneformer check lists all)'
            text = first + (more if count > 1 else '')
            print_log(text, logger='current', level=logging.WARNING)
        self._found.clear()
