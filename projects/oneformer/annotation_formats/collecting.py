"""Collects what is wrong with annotation files, so that one run names all of it."""

from pathlib import Path

from ..datasets.findings import ERROR, Finding

_EXAMPLES = 3


class Collected:
    """An ``OnFinding`` that keeps findings: errors are problems, warnings are notes.

    Of each file and kind, the first few are listed and the rest is counted.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str], list[str]] = {}
        self.plain_notes: list[str] = []

    def __call__(self, finding: Finding) -> None:
        """Keep a finding."""
        key = finding.severity, finding.file, finding.kind
        self._found.setdefault(key, []).append(finding.message)

    def error(self, kind: str, message: str, file: Path | str = '') -> None:
        """Keep a problem; ``message`` names the file and the remedy."""
        self(Finding(kind, message, str(file)))

    def note(self, message: str) -> None:
        """Keep a sentence that a user should know."""
        self.plain_notes.append(message)

    def _told(self, errors: bool) -> list[str]:
        lines = []
        for (severity, file, kind), messages in self._found.items():
            if (severity == ERROR) == errors:
                lines += messages[:_EXAMPLES]
                if len(messages) > _EXAMPLES:
                    where = f' in {file}' if file else ''
                    lines.append(f'{len(messages) - _EXAMPLES} more{where} of: {kind}')
        return lines

    def problems(self) -> list[str]:
        """What is wrong."""
        return self._told(True)

    def notes(self) -> list[str]:
        """Notes, such as what was read in another way than it is written."""
        return [*self._told(False), *self.plain_notes]
