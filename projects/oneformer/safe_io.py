"""Write files so that a reader never sees half of one."""

import json
import os
from pathlib import Path


def write_json(path: str | os.PathLike, content) -> None:
    """Write JSON beside ``path``, then rename; creates the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        temporary.write_text(json.dumps(content, indent=2) + '\n')
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
