"""What is wrong with a checkpoint, for a user to mend."""

from collections.abc import Iterable


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or does not fit; the message names file and keys."""


def key_list(title: str, keys: Iterable[str]) -> str:
    """Lines that name keys, or nothing if there are none."""
    keys = list(keys)
    return '\n'.join([f'{title} ({len(keys)}):', *(f'  {key}' for key in keys)]) if keys else ''
