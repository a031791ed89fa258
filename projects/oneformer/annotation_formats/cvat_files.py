"""Find the XML of a CVAT export, its labels, and its images."""

import os
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .annotated import Category, SourceImage
from .color_texts import hex_color
from .options import image_folder
from .reading import ImageFolder, missing_image, name_problems, slashed, some
from .xml_files import read_xml

_META = ('task', 'job', 'project')


class CvatFiles:
    """Reads what is common to all images of an export.

    Args:
        path: The XML, or the folder that it is in.
        options: Values of the format's options, by name.

    Attributes:
        folder: Folder of the images.
        categories: Labels.
        labels: Names of the labels.
        notes: Sentences that a user should know.
    """

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        self.path, self.options = path, options
        self.folder = path
        self.categories: list[Category] = []
        self.labels: frozenset[str] = frozenset()
        self.notes: list[str] = []
        self._problems: list[str] = []

    def find(self) -> tuple[list[SourceImage], list[str]]:
        """Read the XML, and look for the images."""
        self.notes, self._problems = [], []
        file = self._file()
        if file is None:
            return [], self._problems
        try:
            root = read_xml(file)
            self.folder = image_folder(self.options, file.parent / 'images', file.parent)
        except (OSError, ValueError) as error:
            return [], [str(error)]
        if root.tag != 'annotations':
            return [], [f'{file} is not of CVAT: its root is {root.tag!r}, not annotations']
        if root.find('track') is not None:
            return [], [
                f'{file} has tracks, so it is "CVAT for video 1.1": export the task as "CVAT for '
                'images 1.1", in which each frame has its shapes'
            ]
        self._read_labels(root, file)
        return self._images(root, file), self._problems

    def _file(self) -> Path | None:
        if self.path.is_file():
            if self.path.suffix.lower() != '.zip':
                return self.path
            self._problems.append(f'{self.path} is packed: unpack it, and give the folder')
            return None
        usual = self.path / 'annotations.xml'
        found = [usual] if usual.is_file() else sorted(self.path.glob('*.xml'))
        if len(found) == 1:
            return found[0]
        listed = f'{len(found)} XML files ({some(p.name for p in found)})' if found else 'no XML'
        self._problems.append(f'{self.path} has {listed}: give the annotations.xml of the export')
        return None

    def _read_labels(self, root: ET.Element, file: Path) -> None:
        """Labels of the task, job or project; those of points of a skeleton are left out."""
        metas = [e for name in _META if (e := root.find(f'meta/{name}')) is not None]
        found: dict[str, Category] = {}
        names = []
        for label in metas[0].iterfind('labels/label') if metas else ():
            if label.find('parent') is None:
                name = label.findtext('name') or ''
                names.append(name)
                found[name] = Category(name, color=hex_color(label.findtext('color')))
        if not names:
            self._problems.append(
                f'{file} lists no labels (meta/task/labels): export it with CVAT again'
            )
        self._problems += name_problems(names, file)
        self.categories, self.labels = list(found.values()), frozenset(found)

    def _images(self, root: ET.Element, file: Path) -> list[SourceImage]:
        folder = ImageFolder(self.folder)
        images, empty, missing = {}, [], []
        for number, element in enumerate(root.iterfind('image')):
            name = element.get('name')
            if not name:
                self._problems.append(f'{file}: image {number} has no name: correct it')
                continue
            found = self._find(folder, name, element.get('subset'))
            if found is None:
                missing.append(name)
                continue
            if found in images:
                self._problems.append(
                    f'{file}: image {name!r} is listed twice: give each task of a project a folder '
                    'of its own, and convert them one by one'
                )
            if not len(element):
                empty.append(name)
            path = Path(os.path.join(self.folder, found))
            element.tail = None
            text = ET.tostring(element, 'unicode')
            split = _split(element.get('subset'))
            images[found] = SourceImage(found, path, split, (file, text))
        if missing:
            more = f' (and {len(missing) - 1} more images)' if len(missing) > 1 else ''
            self._problems.append(missing_image(missing[0], self.folder, file) + more)
        if not images and not missing:
            self._problems.append(f'{file} lists no image: export it as "CVAT for images 1.1"')
        self._note(empty, [name for name in folder.names if name not in images])
        return list(images.values())

    def _find(self, folder: ImageFolder, name: str, subset: str | None) -> str | None:
        """The file of an image, which exports of projects put into a folder of its subset."""
        names = ([f'{subset}/{name}'] if subset else []) + [name, f'default/{name}']
        found = next(filter(None, map(folder.named, names)), None)
        if found is not None:
            return found
        # frames of videos have no suffix in the XML
        stems = [folder.of_stem(slashed(one)) for one in names]
        return next((found[0] for found in stems if len(found) == 1), None)

    def _note(self, empty: list[str], unlisted: list[str]) -> None:
        if empty:
            self.notes.append(
                f'{len(empty)} images have no shape, such as {some(empty[:3])}: they are taken as '
                'images in which nothing is'
            )
        if unlisted:
            self.notes.append(
                f'{len(unlisted)} images are in {self.folder} and not in the XML, and are left '
                f'out: {some(unlisted[:3])}'
            )


def _split(subset: str | None) -> str | None:
    """The part of the dataset that a subset of a project is."""
    return None if subset in (None, '', 'default') else subset.lower()
