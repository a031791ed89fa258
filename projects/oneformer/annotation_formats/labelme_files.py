"""Find labelme's JSON files and their images."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..host.safe_io import write_bytes
from .annotated import SourceImage
from .bitmaps import decode_base64
from .reading import (
    ImageFolder,
    existing_file,
    expect,
    json_files,
    missing_image,
    read_json,
    shortened,
    slashed,
    some,
    whole,
)
from .split_names import splits_of_folders

_ENDINGS = {b'\x89PNG': '.png', b'\xff\xd8\xff': '.jpg', b'RIFF': '.webp', b'BM': '.bmp'}


@dataclass
class Found:
    """JSON files and their images.

    Attributes:
        images: Images, each with its JSON file as annotation.
        without: Images without a JSON file.
        labels: Each label, and the file that has it first.
        problems: Sentences that say what is wrong.
        notes: Sentences that a user should know.
    """

    images: list[SourceImage] = field(default_factory=list)
    without: list[SourceImage] = field(default_factory=list)
    labels: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def stated_size(content: Mapping, file: Path) -> tuple[int, int] | None:
    """(height, width) that a JSON states, None for none."""
    if content.get('imageHeight') is None or content.get('imageWidth') is None:
        return None
    return tuple(whole(content[k], f'{file}: {k}', 1) for k in ('imageHeight', 'imageWidth'))


class LabelmeFiles:
    """Looks for JSON files and images.

    Args:
        path: A folder, or a JSON file.
        images: Folder of the images, in place of what ``imagePath`` says.
        extract: Folder to write images to that are in the JSON files only.

    Attributes:
        folder: The folder that all images are in, after ``find``.
        found: Images and JSON files, after ``find``.
    """

    def __init__(self, path: Path, images: str | None, extract: str | None) -> None:
        self.path = path
        self.images = None if images is None else Path(images)
        self.extract = None if extract is None else Path(extract)
        self.folder = path
        self.found = Found()

    def find(self) -> Found:
        """Read all JSON files once, for labels and names of images."""
        self.found = found = Found()
        single = self.path.is_file()
        root = self.path.parent if single else self.path
        if self.images is not None and not self.images.is_dir():
            found.problems.append(f'--images {self.images} is not a folder')
            return found
        files = [self.path] if single else sorted(json_files(root))
        image_of, others = {}, []
        for file in files:
            try:
                content = read_json(file)
                if not _is_labelme(content):
                    others.append(file)
                    continue
                self._note_labels(content, file)
                image_of[file] = self._image(content, file, root)
            except (OSError, ValueError) as error:
                found.problems.append(str(error))
        found.problems = shortened(found.problems)
        if others:
            found.notes.append(
                f'{len(others)} JSON files have no shapes and imagePath, and are not read: '
                f'{some(others[:3])}'
            )
        if not image_of and not found.problems:
            found.problems.append(f'{self.path} has no JSON file of labelme: give their folder')
        self._name(image_of, root, single)
        return found

    def _note_labels(self, content: Mapping, file: Path) -> None:
        for number, shape in enumerate(content['shapes'], 1):
            expect(shape, dict, f'{file}: shape {number}')
            label = expect(shape.get('label'), str, f'{file}: shape {number}: label')
            self.found.labels.setdefault(label, file)

    def _image(self, content: Mapping, file: Path, root: Path) -> Path:
        """The image of a JSON; ValueError if there is none."""
        name = slashed(expect(content['imagePath'], str, f'{file}: imagePath').strip())
        if not name:
            raise ValueError(f'{file}: imagePath is empty: write the name of the image')
        tries = [] if self.images is None else _below(self.images, name, file, root)
        tries += [file.parent / name, file.parent / Path(name).name]
        image = next(filter(None, map(existing_file, tries)), None)
        if image is not None:
            return Path(os.path.abspath(image))
        if not content.get('imageData'):
            raise ValueError(missing_image(name, self.images or file.parent, file))
        if self.extract is None:
            raise ValueError(
                f'{file}: image {name!r} does not exist, but is in the file (imageData): give '
                '--extract FOLDER, where such images are written'
            )
        data = decode_base64(content['imageData'], f'{file}: imageData')
        ending = next((e for start, e in _ENDINGS.items() if data.startswith(start)), None)
        if ending is None:
            raise ValueError(f'{file}: imageData is not an image: put image {name!r} beside it')
        target = self.extract / file.relative_to(root).with_suffix(ending)
        if not target.exists() or target.read_bytes() != data:
            if target.exists():
                raise ValueError(f'{target} is another image than that in {file}: remove it')
            write_bytes(target, data)
        return Path(os.path.abspath(target))

    def _name(self, image_of: Mapping[Path, Path], root: Path, single: bool) -> None:
        """Name the images, and look for those without a JSON file."""
        files_of: dict[Path, list[Path]] = {}
        for file, image in image_of.items():
            files_of.setdefault(image, []).append(file)
        for image, files in files_of.items():
            if len(files) > 1:
                self.found.problems.append(
                    f'{len(files)} JSON files are for image {image}, {some(files)}: remove all but '
                    'one, or correct imagePath'
                )
        where = Path(os.path.abspath(self.images or root))
        parents = {image.parent for image in files_of}
        if all(parent == where or where in parent.parents for parent in parents):
            self.folder = where
        else:
            self.folder = Path(os.path.commonpath(parents))
        names = [image.relative_to(self.folder).as_posix() for image in files_of]
        splits = splits_of_folders(names)
        for (image, files), name, split in zip(files_of.items(), names, splits):
            self.found.images.append(SourceImage(name, image, split, files[0]))
        if single:
            return
        folders = [where] if self.folder == where else sorted(parents)
        others = {folder / name for folder in folders for name in ImageFolder(folder).names}
        for image in sorted(others - files_of.keys()):
            name = image.relative_to(self.folder).as_posix()
            self.found.without.append(SourceImage(name, image))


def _below(images: Path, name: str, file: Path, root: Path) -> list[Path]:
    """Where an image may lie below a folder of images."""
    inside = file.parent.relative_to(root)
    last = Path(name).name
    return [images / inside / last, images / Path(name).name, images / name.lstrip('./')]


def _is_labelme(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and isinstance(content.get('shapes'), list)
        and 'imagePath' in content
    )
