"""JSONs in COCO instance format: which there are in a folder, and where their images lie."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.file_names import Folder, read_urls
from ..datasets.mending import mend
from ..datasets.readings import Readings
from .collecting import Collected
from .reading import json_files, read_json, slashed, some
from .split_names import split_of, split_of_path

LISTS = ('images', 'annotations', 'categories')
_TRIED = 100  # images of a JSON, by which their folder is found
_DEPTH = 3  # folders below each other that may hold images
_KEYPOINTS = 'has key points, and another JSON annotates the same objects'


@dataclass
class CocoJson:
    """A JSON in COCO instance format.

    Attributes:
        path: The file.
        content: Content of the file, as COCO writes it (see ``datasets.mending``).
        split: Part of the dataset that it is for, by its name or its folder; None if these do not
            say.
        folder: Folder of its images.
    """

    path: Path
    content: dict
    split: str | None
    folder: Path


def _other_format(content: Any) -> str | None:
    """Why a JSON is not in COCO instance format, in a few words; None if it is."""
    if not isinstance(content, dict):
        return f'holds a {type(content).__name__}, not an object of images and annotations'
    missing = [key for key in LISTS if not isinstance(content.get(key), list)]
    if missing:
        return f'has no list of {" and none of ".join(missing)}'
    entries = [entry for entry in content['annotations'] if isinstance(entry, dict)]
    if entries and 'segments_info' in entries[0]:
        return 'is in COCO panoptic format, which needs no conversion'
    return None


def _has_keypoints(content: Mapping) -> bool:
    entries = content['annotations']
    return bool(entries) and isinstance(entries[0], dict) and 'keypoints' in entries[0]


def _candidates(source: Path, chosen: Sequence[str] | None) -> list[Path]:
    if source.is_file():
        return [source]
    if chosen:
        return [source / name for name in chosen]
    return list(json_files(source))


def load_jsons(
    source: Path, chosen: Sequence[str] | None, found: Collected
) -> list[tuple[Path, dict]]:
    """The JSONs in COCO instance format of a source, in the order of their names.

    Args:
        source: A JSON, or a folder that is searched.
        chosen: Names of the JSONs in the folder; None for all in it.
        found: Collector of the problems, and of notes about JSONs in another format.
    """
    wanted = bool(chosen) or source.is_file()
    loaded, others = [], []
    for path in _candidates(source, chosen):
        if not path.is_file():
            found.error('no JSON', f'{path} does not exist: correct --ann-files', path)
            continue
        try:
            content = read_json(path)
            reason = _other_format(content)
        except (OSError, ValueError) as error:
            found.error('unreadable JSON', str(error), path)
            continue
        if reason is None:
            loaded.append((path, content))
        else:
            others.append(f'{path} {reason}')
    if not wanted and not all(_has_keypoints(content) for _, content in loaded):
        others += [f'{path} {_KEYPOINTS}' for path, content in loaded if _has_keypoints(content)]
        loaded = [(path, content) for path, content in loaded if not _has_keypoints(content)]
    if wanted or not loaded:  # a JSON that was meant, or nothing to go by
        for text in others:
            found.error('another format', f'{text}: give a JSON in COCO instance format')
        if not loaded and not others and not found.problems():
            found.error('no JSON', f'{source} has no *.json: give a COCO JSON, or its folder')
    else:
        for text in others:
            found.note(f'{text}; it is left out')
    return loaded


def _folders(source: Path, first: Path) -> list[Path]:
    """Folders that may hold images: ``first``, then those below the source, outer ones first."""
    inner: list[Path] = []
    level = [source]
    for _ in range(_DEPTH):
        level = [
            path
            for folder in level
            for path in sorted(folder.iterdir())
            if path.is_dir() and not path.name.startswith('.')
        ]
        inner += level
    return list(dict.fromkeys([first, source, *inner]))


def _first_names(images: Iterable[Any], folder: Folder) -> list[str]:
    """Names of the first images of a JSON; those with a URL only if they are in the folder."""
    copies = [dict(image) for image in images if isinstance(image, dict)][:_TRIED]
    read_urls(copies, folder, Readings(''))
    return [slashed(i['file_name']) for i in copies if isinstance(i.get('file_name'), str)]


def image_folder_of(
    path: Path, content: Mapping, split: str | None, folders: Sequence[Path], found: Collected
) -> Path | None:
    """The folder that holds most of the first images of a JSON.

    Among equals it is that of the JSON itself, else one named as the part that the JSON is for.

    Args:
        path: The JSON.
        content: Content of the JSON.
        split: Part of the dataset that it is for.
        folders: Folders that may hold images.
        found: Collector of the problems: no folder has any of the images, or several have equally
            many.
    """
    hits: dict[Path, frozenset[Path]] = {}
    for folder in folders:
        lister = Folder(str(folder))
        names = map(lister.find, _first_names(content['images'], lister))
        hits[folder] = frozenset(folder / name for name in names if name is not None)
    most = max(map(len, hits.values()), default=0)
    best = [folder for folder, files in hits.items() if len(files) == most]
    if not most:
        first = [entry for entry in content['images'][:3] if isinstance(entry, dict)]
        names = [entry.get('file_name', entry.get('coco_url')) for entry in first]
        found.error(
            'images not found',
            f'{path}: none of its {len(content["images"])} images, such as {some(names) or None}, '
            f'lies in {some(folders)}: say where they are with --images',
            path,
        )
        return None
    ranked = [
        [folder for folder in best if folder == path.parent],
        [f for f in best if split and split in (split_of(f.name), split_of(f.parent.name))],
        best,
    ]
    chosen = next(filter(None, ranked))
    if len({hits[folder] for folder in chosen}) > 1:
        found.error(
            'ambiguous image folder',
            f'{path}: the first of its images lie in each of {some(chosen)}: say which are meant '
            'with --images',
            path,
        )
    return chosen[0]


def open_jsons(
    source: Path, chosen: Sequence[str] | None, images: Path | None, found: Collected
) -> list[CocoJson]:
    """The JSONs of a source, as COCO writes them, and the folders of their images.

    Args:
        source: A JSON, or a folder that is searched.
        chosen: Names of the JSONs in the folder; None for all in it.
        images: Folder of the images, perhaps with a folder for each part; None to look for it.
        found: Collector of the problems.
    """
    root = source if source.is_dir() else source.parent
    opened = []
    for path, content in load_jsons(source, chosen, found):
        split = split_of_path(path, root)
        start, first = (root, path.parent) if images is None else (images, images)
        folders = _folders(start, first)
        folder = image_folder_of(path, content, split, folders, found)
        if folder is None:
            continue
        mend(content, 'instance', dict(img=Folder(str(folder))), str(path), found)
        opened.append(CocoJson(path, content, split, folder))
    return opened
