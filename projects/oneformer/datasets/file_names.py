"""Names of files in a JSON, and the files that they mean."""

import os
import os.path as osp
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import PureWindowsPath
from urllib.parse import urlsplit

from .entries import FILE_NAME
from .readings import Readings, entry_name

_MAX_FOLDERS = 1000  # folders that are listed; if there are more, the loader finds what is missing


def loose(name: str) -> str:
    """A name without regard to case, outer blanks, and how accents are encoded."""
    return unicodedata.normalize('NFC', name).strip().casefold()


class Folder:
    """The files below a folder; each sub-folder is listed once, when it is asked for.

    Args:
        path: Path of the folder. One that does not exist, or is not on a local disk, has no
            files.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._names: dict[str, dict[str, None]] = {}
        self._loose: dict[str, dict[str, list[str]]] = {}

    def names(self, inside: str = '') -> Mapping[str, None]:
        """Names in a sub-folder; empty if it is not a folder."""
        if inside not in self._names:
            try:
                self._names[inside] = dict.fromkeys(os.listdir(osp.join(self.path, inside)))
            except (OSError, ValueError):  # ValueError: NUL in a name
                self._names[inside] = {}
        return self._names[inside]

    def _similar(self, inside: str, name: str) -> list[str]:
        if inside not in self._loose:
            table = self._loose[inside] = {}
            for one in self.names(inside):
                table.setdefault(loose(one), []).append(one)
        return self._loose[inside].get(loose(name), [])

    def find(self, name: str) -> str | None:
        """The path below the folder that a name means.

        Returns:
            ``name`` if it exists; else the only path that differs in case, outer blanks or the
            encoding of accents; None if there is none, or several.
        """
        found, exact = '', True
        for part in name.split('/'):
            if part in ('', '.'):
                continue
            if part not in self.names(found):
                similar = self._similar(found, part)
                if len(similar) != 1:
                    return None
                part, exact = similar[0], False
            found = f'{found}/{part}' if found else part
        return name if exact else found


def _slashed(name: str, folder: Folder) -> str | None:
    """A name with / in place of backslashes; None if it has none, or is to stay as it is."""
    if '\\' not in name or not FILE_NAME.fits(name) or PureWindowsPath(name).drive:
        return None
    # what Windows packed may lie here under a name with backslashes
    return None if osp.lexists(osp.join(folder.path, name)) else name.replace('\\', '/')


def read_names(entries: Iterable, folder: Folder, what: str, readings: Readings) -> None:
    """Replace ``file_name`` by the file that it means beyond doubt, in place.

    Entries that are not dicts, and names that are refused, are left alone.
    """
    named = [e for e in entries if type(e) is dict and type(e.get('file_name')) is str]
    for entry in named:
        slashed = _slashed(entry['file_name'], folder)
        if slashed is not None:
            readings.replace('backslash in a file name', entry, 'file_name', slashed, what)
    if not folder.names() or len({osp.dirname(e['file_name']) for e in named}) > _MAX_FOLDERS:
        return
    for entry in named:
        name = entry['file_name']
        if name not in folder.names() and FILE_NAME.fits(name):
            found = folder.find(name)
            if found not in (None, name):
                kind = 'file name in another spelling'
                readings.replace(kind, entry, 'file_name', found, what)


def _ends_of_url(url: str) -> list[str]:
    """The last folder and the name of a file in a URL, and its name alone; [] if it is no URL."""
    try:
        parts = [part for part in urlsplit(url).path.split('/') if part]
    except ValueError:
        return []
    names = ['/'.join(parts[-2:]), *parts[-1:]]
    return [name for name in dict.fromkeys(names) if FILE_NAME.fits(name)]


def read_urls(images: Iterable, folder: Folder, readings: Readings) -> None:
    """Give images that have no ``file_name`` that of the file that their ``coco_url`` ends with."""
    for image in images:
        if type(image) is not dict or image.get('file_name') is not None:
            continue
        if type(image.get('coco_url')) is str:
            found = filter(None, map(folder.find, _ends_of_url(image['coco_url'])))
            name = next(found, None)
            if name is not None:
                kind = 'file name from coco_url'
                where = entry_name(image, 'image', 'coco_url')
                readings.note(kind, where, image['coco_url'], name, image.get('id'))
                image['file_name'] = name


def name_hint(entry: Mapping, folder: str) -> str:
    """The addition to a message about an entry without a usable ``file_name``."""
    url = entry.get('coco_url')
    if entry.get('file_name') is None and type(url) is str:
        ends = ' nor '.join(map(repr, _ends_of_url(url))) or 'a file'
        return (
            f' (it has the coco_url {url!r}, but neither {ends} exists below {folder!r}: correct '
            'data_prefix.img, or write file_name)'
        )
    return ''
