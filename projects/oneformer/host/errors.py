"""What is wrong with a checkpoint, for a user to mend."""

from collections.abc import Iterable, Sequence

_LISTED = 12  # lines of one kind in a message


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or does not fit; the message names file and keys."""


def key_list(title: str, keys: Iterable[str]) -> str:
    """Lines that name keys, or nothing if there are none."""
    keys = list(keys)
    return '\n'.join([f'{title} ({len(keys)}):', *(f'  {key}' for key in keys)]) if keys else ''


def first_lines(lines: Sequence[str]) -> list[str]:
    """The first lines, indented, and how many more there are."""
    more = [f'  and {len(lines) - _LISTED} more'] if len(lines) > _LISTED else []
    return [f'  {line}' for line in lines[:_LISTED]] + more
