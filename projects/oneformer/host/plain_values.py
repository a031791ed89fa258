"""Configs, data classes and arrays as plain dicts, lists and numbers, which load without pickle."""

from collections.abc import Mapping
from dataclasses import is_dataclass

import numpy as np


def plain_values(value):
    """Dicts of a config, data classes and arrays as values of JSON, at any depth."""
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain_values, value))
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
