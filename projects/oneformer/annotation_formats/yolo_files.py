"""Find the images of a YOLO dataset and their label files."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .reading import IMAGE_SUFFIXES, ImageFolder, ambiguous_image, read_text, slashed, some
from .split_names import splits_of_folders
from .yolo_names import CONFIGS, LISTS

SPLITS = ('train', 'val', 'valid', 'test')
_NO_LABELS = {*LISTS, *(f'{split}.txt' for split in SPLITS)}


@dataclass
class Found:
    """Images of a dataset.

    Attributes:
        folder: The folder that all are in.
        images: Name below it, path, split (None without) and label file (None without) of each.
        problems: Sentences that say what is wrong.
        notes: Sentences that a user should know.
    """

    folder: Path = Path()
    images: list[tuple[str, Path, str | None, Path | None]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def labels_folder(folder: Path) -> Path | None:
    """The folder of labels for a folder of images: the last part ``images`` becomes ``labels``."""
    parts = list(folder.parts)
    if 'images' not in parts:
        return None
    place = len(parts) - 1 - parts[::-1].index('images')
    return Path(*parts[:place], 'labels', *parts[place + 1 :])


def _root(config: Mapping[str, Any], config_path: Path) -> tuple[Path, list[str]]:
    """The folder that the entries of data.yaml are below."""
    here = config_path.parent
    given = config.get('path')
    if given in (None, ''):
        return here, []
    path = Path(slashed(str(given))).expanduser()
    if path.is_absolute() and path.is_dir():
        return path, []
    if not path.is_absolute() and (here / path).is_dir():
        return here / path, []
    return here, [f'{config_path}: its path {str(given)!r} does not exist; its own folder is taken']


def _existing(text: str, folders: list[Path]) -> Path | None:
    """The file or folder that a path of data.yaml or of a list means."""
    path = Path(slashed(text)).expanduser()
    tries = [folder / path for folder in folders]
    if path.parts[:1] == ('..',):  # Roboflow's are a folder too high
        tries += [folder / Path(*path.parts[1:]) for folder in folders]
    return next((one for one in tries if one.exists()), None)


class _Finder:
    """Collects the images of one data.yaml, or of a folder."""

    def __init__(self) -> None:
        self.found = Found()
        self.split_of: dict[Path, str | None] = {}
        self._twice: dict[tuple, list[Path]] = {}

    def add(self, path: Path, split: str | None) -> None:
        """Add an image; one that is in two parts is a problem."""
        path = Path(os.path.abspath(path))
        before = self.split_of.setdefault(path, split)
        if before != split:
            self._twice.setdefault((before, split), []).append(path)

    def add_entry(self, text: Any, split: str, root: Path, config_path: Path) -> None:
        """Add what an entry such as ``train`` names: a folder, a list, or several."""
        if isinstance(text, list):
            for one in text:
                self.add_entry(one, split, root, config_path)
            return
        if not isinstance(text, str):
            self.found.problems.append(
                f'{config_path}: {split} is {text!r}, not a folder, a .txt file or a list of these'
            )
            return
        path = _existing(text, list(dict.fromkeys([root, config_path.parent])))
        if path is None:
            self.found.problems.append(
                f'{config_path}: {split} is {text!r}, which does not exist below {root}: correct '
                'it, or path'
            )
        elif path.is_dir():
            folder = ImageFolder(path)
            if not folder.names:
                self.found.problems.append(f'{config_path}: {split} is {path}, without any image')
            for name in folder.names:
                self.add(path / name, split)
        elif path.suffix.lower() == '.txt':
            self._add_list(path, split, root)
        else:
            self.found.problems.append(
                f'{config_path}: {split} is {path}, neither a folder nor a .txt file with paths'
            )

    def _add_list(self, path: Path, split: str, root: Path) -> None:
        missing = []
        for line in map(str.strip, read_text(path, 'list of images').splitlines()):
            image = _existing(line, [path.parent, root]) if line else None
            if image is not None:
                self.add(image, split)
            elif line:
                missing.append(line)
        if missing:
            self.found.problems.append(
                f'{path} lists {len(missing)} images that do not exist, such as '
                f'{some(missing[:3])}: put them there, or remove the lines'
            )

    def finish(self, root: Path) -> Found:
        """Give each image its label file and its name."""
        found = self.found
        for (first, second), paths in self._twice.items():
            found.problems.append(
                f'{len(paths)} images are in {first} and in {second}, such as {paths[0]}: an image '
                'may be in one part only, so take them out of one (without val, --split divides '
                'anew)'
            )
        if not self.split_of:
            return found
        root = Path(os.path.abspath(root))
        parents: dict[Path, set[Path]] = {}
        for path in self.split_of:
            parents.setdefault(path.parent, set()).add(path)
        inside = all(parent == root or root in parent.parents for parent in parents)
        found.folder = root if inside else Path(os.path.commonpath([root, *parents]))
        label_of = {}
        for parent in sorted(parents):
            label_of.update(self._labels_of(parent, parents[parent]))
        for path, split in self.split_of.items():
            name = path.relative_to(found.folder).as_posix()
            found.images.append((name, path, split, label_of.get(path)))
        found.images.sort(key=lambda image: image[0])
        return found

    def _labels_of(self, folder: Path, mine: set[Path]) -> dict[Path, Path]:
        """Label files of the images of the dataset in a folder, not below it."""
        stems: dict[str, list[Path]] = {}
        for name in sorted(os.listdir(folder)):
            if Path(name).suffix.lower() in IMAGE_SUFFIXES:
                stems.setdefault(Path(name).stem, []).append(folder / name)
        apart, beside = labels_folder(folder), _texts(folder)
        usual = _texts(apart) if apart is not None else {}
        for stem, paths in stems.items():
            if len(paths) > 1 and len(mine.intersection(paths)) and stem in {**beside, **usual}:
                names = [path.name for path in paths]
                self.found.problems.append(ambiguous_image(f'{stem}.txt', names, folder))
        both = sorted(usual.keys() & beside.keys() & stems.keys())
        if both:
            self.found.problems.append(
                f'{len(both)} images have two label files, such as {usual[both[0]]} and '
                f'{beside[both[0]]}: remove those that are not meant'
            )
        alone = [path for stem, path in {**beside, **usual}.items() if stem not in stems]
        if alone:
            self.found.problems.append(
                f'{len(alone)} label files have no image in {folder}, such as '
                f'{some(sorted(alone)[:3])}: put the images there, or remove the files'
            )
        used = beside.keys() & stems.keys() - usual.keys()
        if apart is not None and used:
            self.found.notes.append(
                f'{len(used)} label files lie beside the images in {folder}, not in {apart}, where '
                'YOLO looks for them: they are read'
            )
        labels = {**beside, **usual}
        return {path: labels[path.stem] for path in mine if path.stem in labels}


def _texts(folder: Path) -> dict[str, Path]:
    """Label files in a folder by their names without suffix."""
    if not folder.is_dir():
        return {}
    names = [n for n in sorted(os.listdir(folder)) if n.lower().endswith('.txt')]
    labels = [n for n in names if not n.lower().startswith(('.', 'readme'))]
    return {Path(n).stem: folder / n for n in labels if n.lower() not in _NO_LABELS}


def find_files(path: Path, config: Mapping[str, Any], config_path: Path | None) -> Found:
    """Find images and label files.

    Args:
        path: A data.yaml or a folder.
        config: Content of data.yaml; empty without.
        config_path: The data.yaml, if there is one.
    """
    finder = _Finder()
    entries = [(s, config[s]) for s in SPLITS if config.get(s) not in (None, '', [])]
    if config_path is not None and entries:
        root, notes = _root(config, config_path)
        finder.found.notes += notes
        for split, entry in entries:
            finder.add_entry(entry, split, root, config_path)
        return finder.finish(root)
    root = path if path.is_dir() else path.parent
    folder = ImageFolder(root)
    if not folder.names:
        finder.found.problems.append(
            f'{root} has no images: give a data.yaml ({CONFIGS[0]}) with train, or the folder of '
            'the images'
        )
    for name, split in zip(folder.names, splits_of_folders(folder.names)):
        finder.add(root / name, split)
    return finder.finish(root)
