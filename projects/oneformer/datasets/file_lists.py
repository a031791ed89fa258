"""Lists of images in a text file: a name per line, with or without suffix."""

import os.path as osp
from collections import Counter
from collections.abc import Sequence

from ..images.image_files import read_file
from .entries import FILE_NAME
from .file_pairs import SUFFIXES, Folder, only_file
from .findings import WARNING, Finding, OnFinding
from .text_files import decode_text, describe_mark


def _warn(report: OnFinding, kind: str, message: str, path: str, name: str) -> None:
    report(Finding(kind, f'{path}: {message}', path, name, WARNING))


def read_list(path: str, report: OnFinding) -> list[str]:
    """The names in a text file, with / between folders.

    Args:
        path: Path of the file: UTF-8, or another encoding that a byte order mark tells.
        report: Callback for names that lead out of the folder, are repeated, or have backslashes.

    Raises:
        OSError: If it is missing or cannot be read.
        ValueError: If it is not a text.
    """
    content = read_file(path, 'list of images')
    try:
        lines = decode_text(content).splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f'list of images {path} is not text in UTF-8 ({error}): write a name per line'
        ) from error
    mark = describe_mark(content, path)
    if mark:
        report(Finding('byte order mark', mark, path, severity=WARNING))
    names = []
    for name in filter(None, map(str.strip, lines)):
        if FILE_NAME.fits(name):
            names.append(name)
        else:
            message = f'{path}: {name!r} is not {FILE_NAME.words}: correct it'
            report(Finding('wrong value', message, path, name))
    slanted = [name for name in names if '\\' in name]
    if slanted:
        text = f'{len(slanted)} names have backslashes, which are read as /: {slanted[0]!r}'
        _warn(report, 'backslash in a file name', text, path, slanted[0])
    names = [name.replace('\\', '/') for name in names]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        text = f'{len(twice)} names are listed more than once, and their images seen more often'
        _warn(report, 'image listed twice', f'{text}: {twice[0]!r}', path, twice[0])
    return names


class _Lookup:
    """Finds the files of listed names in a folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        # a folder that is not on a disk cannot be listed: the loader finds what is missing
        self.files = folder.files() if '://' not in folder.path else None

    def stem_of(self, name: str) -> str | None:
        """A name without suffix if it is listed with one of this folder, else None."""
        suffix = self.folder.suffix_of(name)
        return name[: -len(suffix)] if suffix else None

    def __call__(self, stem: str, name: str) -> list[str]:
        """Paths below the folder of the files of a stem, only ``name`` if it is one of them."""
        if self.files is None:
            return [osp.relpath(self.folder.meant(stem), self.folder.path)]
        found = self.files.get(stem, [])
        return [name] if name in found else found


def _report_missing(
    path: str, missing: Sequence[str], folder: Folder, total: int, report: OnFinding
) -> None:
    """Report the listed names that have no file in a folder."""
    for name in missing:
        parts = name.split()
        hint = ''
        if len(parts) > 1 and all(part.lower().endswith(SUFFIXES) for part in parts):
            hint = ' Write one name per line, without that of the label image.'
        message = (
            f'{path}: {len(missing)} of {total} listed names have no file in {folder.path}, '
            f'one is {name!r}: {folder.meant(name)} does not exist. Correct the list, or '
            f'check data_prefix.{folder.key} and {folder.option} of the dataset.{hint} '
            f'{folder.contents()}'
        )
        report(Finding('listed file is missing', message, path, name))


def pair_listed(
    path: str, images: Folder, labels: Folder, report: OnFinding
) -> list[tuple[str, str]]:
    """The pairs that a list names, in its order; names without one file each are reported.

    Returns:
        Paths of image and label image for each pair.

    Raises:
        OSError: If the list is missing or cannot be read.
        ValueError: If it is not a text, or a folder does not exist.
    """
    names = read_list(path, report)
    find_image, find_label = _Lookup(images), _Lookup(labels)
    pairs, no_image, no_label = [], [], []
    for name in names:
        stem = find_image.stem_of(name)
        if stem is None or find_image.files is not None and name in find_image.files:
            stem = name
        image, label = find_image(stem, name), find_label(stem, name)
        if not image:
            no_image.append(name)
        elif not label:
            no_label.append(name)
        else:
            image = only_file(images, stem, image, report)
            pairs.append((image, only_file(labels, stem, label, report)))
    _report_missing(path, no_image, images, len(names), report)
    _report_missing(path, no_label, labels, len(names), report)
    return pairs
