"""Files of the page: those that are listed at the start, and no other."""

import logging
import os
from pathlib import Path

LOG = logging.getLogger('oneformer_runtime.serving')

# by suffix, whatever the machine's own table says: browsers are told not to guess
_TYPES = {
    '.css': 'text/css; charset=utf-8',
    '.gif': 'image/gif',
    '.html': 'text/html; charset=utf-8',
    '.ico': 'image/x-icon',
    '.jpeg': 'image/jpeg',
    '.jpg': 'image/jpeg',
    '.js': 'text/javascript; charset=utf-8',
    '.json': 'application/json',
    '.mjs': 'text/javascript; charset=utf-8',
    '.png': 'image/png',
    '.svg': 'image/svg+xml',
    '.txt': 'text/plain; charset=utf-8',
    '.wasm': 'application/wasm',
    '.webmanifest': 'application/manifest+json',
    '.webp': 'image/webp',
    '.woff2': 'font/woff2',
}
_OWN = ('page.json',)  # which the server makes
INDEX = 'index.html'


def media_type(path: str | os.PathLike) -> str:
    """The type of a file by its suffix."""
    return _TYPES.get(Path(path).suffix.lower(), 'application/octet-stream')


def list_assets(folder: str | os.PathLike) -> dict[str, Path]:
    """The files of a folder, by their paths as a URL has them, such as ``js/page.js``.

    Hidden files are left out, and links that lead out of the folder. A folder that does not exist
    has none.
    """
    root = Path(folder).resolve()
    found = {}
    for path in sorted(root.rglob('*')):
        name = path.relative_to(root)
        if not path.is_file() or any(part.startswith('.') for part in name.parts):
            continue
        if not path.resolve().is_relative_to(root):
            LOG.warning('%s leads out of %s and is not served: copy the file there', path, root)
        elif name.as_posix() not in _OWN:
            found[name.as_posix()] = path
    return found
