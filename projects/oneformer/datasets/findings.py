"""What is wrong with labels: a data set raises the first error, the checker collects all."""

from collections.abc import Callable
from dataclasses import dataclass

ERROR, WARNING = 'error', 'warning'


@dataclass(frozen=True)
class Finding:
    """One fault of the labels.

    Attributes:
        kind: A few words that group findings.
        message: Names the file and the id, and says what to do.
        file: The faulty file.
        id: Of what the message is about: an image, an annotation, a segment, a category, a value.
        severity: ``ERROR`` if training would stop or learn what is wrong, else ``WARNING``.
    """

    kind: str
    message: str
    file: str
    id: int | str | None = None
    severity: str = ERROR


Report = Callable[[Finding], None]


def refuse(finding: Finding) -> None:
    """Raise errors as ValueError and let warnings pass: what data sets do with findings."""
    if finding.severity == ERROR:
        raise ValueError(finding.message)
