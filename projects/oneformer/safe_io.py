"""Write files so that a reader never sees half of one."""

import json
import math
import os
from pathlib import Path


def without_nan(content):
    """Replace nan, which JSON does not have, by None in nested dicts and lists."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


def write_json(path: str | os.PathLike, content) -> None:
    """Write JSON beside ``path``, then rename; creates the folder. nan becomes null."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        temporary.write_text(json.dumps(without_nan(content), indent=2) + '\n')
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
