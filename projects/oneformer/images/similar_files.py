"""Files that are named almost like one that does not exist, for messages."""

import difflib
import os
import unicodedata
from pathlib import Path

_LISTED = 3  # names in a message
_MOST = 20000  # files of a folder that are compared


def _key(name: str) -> str:
    """A name without suffix and regard to case."""
    return unicodedata.normalize('NFC', Path(name).stem).strip().casefold()


def similar_files(path: str) -> str:
    """The addition to a message about a file that does not exist.

    Returns:
        Words in brackets after a blank, such as the files that its folder has under the same name
        with another suffix; empty if there is no hint.
    """
    folder, name = os.path.split(path)
    if not os.path.isdir(folder or '.'):
        above = folder
        while above and not os.path.isdir(above):
            above = os.path.dirname(above.rstrip('/'))
        return f' ({folder} is not a folder; {above} is)' if above not in ('', '/') else ''
    try:
        names = sorted(os.listdir(folder or '.'))
    except OSError:
        return ''
    if not names:
        return f' (its folder {folder} is empty)'
    same = [one for one in names if _key(one) == _key(name)]
    if not same and len(names) <= _MOST:
        same = difflib.get_close_matches(name, names, _LISTED, 0.8)
    listed = ', '.join(map(repr, (same or names)[:_LISTED]))
    what = 'similar is' if same else f'its folder has {len(names)} others, such as'
    return f' ({what} {listed})'
