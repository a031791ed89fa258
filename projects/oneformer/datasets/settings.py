"""Settings of a dataset that have to be texts or dicts of texts."""

import os
from collections.abc import Collection, Mapping
from typing import Any


def require_text(value: Any, name: str) -> None:
    """Raise ValueError with the remedy if a setting is not a text.

    Args:
        value: Value of the setting; None passes.
        name: Name of the setting, for the message.
    """
    if value is None or isinstance(value, str | os.PathLike):
        return
    remedy = 'write a text'
    if isinstance(value, list | tuple):
        if len(value) == 1 and isinstance(value[0], str):
            comma = ', without the comma behind it' if isinstance(value, tuple) else ''
            remedy = f'write {value[0]!r}{comma}'
        elif value and all(isinstance(part, str) for part in value):
            remedy = 'write one text, and make a dataset of each, which a JointDataset joins'
    raise ValueError(f'{name} is {value!r}, a {type(value).__name__}, not a text: {remedy}')


def require_folders(prefix: Any, keys: Collection[str], kind: str) -> None:
    """Raise ValueError with the remedy if ``data_prefix`` is not a dict of the texts it needs."""
    form = f'dict({", ".join(f"{key}=..." for key in keys)})'
    if not isinstance(prefix, Mapping):
        raise ValueError(
            f'data_prefix is {prefix!r}, a {type(prefix).__name__}, not a dict of folders: write '
            f'data_prefix={form}'
        )
    for key, value in prefix.items():
        require_text(value, f'data_prefix.{key}')
    missing = [key for key in keys if key not in prefix]
    if missing:
        raise ValueError(
            f'data_prefix of the {kind} has {sorted(prefix)}, but lacks {missing}: write '
            f'data_prefix={form}'
        )
