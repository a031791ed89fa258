"""Find the classes, images and annotations of a project of Supervisely."""

import os
from collections.abc import Iterator
from pathlib import Path

from .annotated import Category, SourceImage
from .color_texts import hex_color
from .reading import IMAGE_SUFFIXES, expect, name_problems, read_json, some
from .split_names import splits_of_folders


class SuperviselyFiles:
    """Reads what is common to all images.

    Args:
        path: Folder of a project, or of one dataset in it.

    Attributes:
        folder: Folder of the project.
        categories: Classes.
        shapes: The geometry of each class, by name.
        without: Images without a JSON file.
        notes: Sentences that a user should know.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path
        self.categories: list[Category] = []
        self.shapes: dict[str, str | None] = {}
        self.without: list[SourceImage] = []
        self.notes: list[str] = []
        self._problems: list[str] = []

    def find(self) -> tuple[list[SourceImage], list[str]]:
        """Read meta.json, and pair images with annotations."""
        self.without, self.notes, self._problems = [], [], []
        path = self.path.parent if self.path.is_file() else self.path
        meta = next(
            (p / 'meta.json' for p in (path, path.parent) if (p / 'meta.json').is_file()), None
        )
        if meta is None:
            return [], [f'{path} has no meta.json: give the folder of the project']
        self.folder = path
        try:
            self._read_meta(meta)
        except (OSError, ValueError) as error:
            return [], [str(error)]
        datasets = sorted(_datasets(path))
        if not datasets:
            return [], self._problems + [
                f'{path} has no dataset, a folder with the folders ann and img: give the project'
            ]
        splits = splits_of_folders([f'{folder.name}/img' for folder in datasets])
        images = []
        for folder, split in zip(datasets, splits):
            images += self._pair(folder, split, meta)
        return images, self._problems

    def _read_meta(self, meta: Path) -> None:
        content = expect(read_json(meta), dict, f'{meta}: its content')
        names, self.categories, self.shapes = [], [], {}
        for number, one in enumerate(expect(content.get('classes'), list, f'{meta}: classes')):
            expect(one, dict, f'{meta}: class {number}')
            name = one.get('title')
            names.append(name)
            if isinstance(name, str) and name not in self.shapes:
                self.categories.append(Category(name, color=hex_color(one.get('color'))))
                self.shapes[name] = one.get('shape')
        self._problems += name_problems(names, meta)

    def _pair(self, folder: Path, split: str | None, meta: Path) -> list[SourceImage]:
        """Images of a dataset that have a JSON file."""
        jsons = {
            name[: -len('.json')]: folder / 'ann' / name
            for name in sorted(os.listdir(folder / 'ann'))
            if name.lower().endswith('.json')
        }
        files = sorted(n for n in os.listdir(folder / 'img') if n[0] != '.')
        others = [n for n in files if Path(n).suffix.lower() not in IMAGE_SUFFIXES]
        files = [n for n in files if n not in others or n in jsons]
        stems: dict[str, list[str]] = {}
        for name in files:
            stems.setdefault(Path(name).stem, []).append(name)
        images, used = [], set()
        for name in files:
            path = folder / 'img' / name
            image = SourceImage(path.relative_to(self.folder).as_posix(), path, split)
            key = name if name in jsons else Path(name).stem  # older files lack the suffix
            if key not in jsons:
                self.without.append(image)
                continue
            if key != name and len(stems[key]) > 1:
                self._problems.append(
                    f'{jsons[key]} may be of {len(stems[key])} images, {some(stems[key])}: name it '
                    f'after one, as in {name}.json'
                )
                continue
            used.add(key)
            images.append(SourceImage(image.name, path, split, (jsons[key], meta)))
        alone = sorted(jsons.keys() - used)
        if alone:
            self._problems.append(
                f'{len(alone)} files in {folder / "ann"} have no image in {folder / "img"}, such '
                f'as {jsons[alone[0]].name}: download the project with its images, or remove them'
            )
        return images


def _datasets(folder: Path) -> Iterator[Path]:
    """Folders with ann and img, also those nested in others."""
    for parent, folders, _ in os.walk(folder, followlinks=True):
        if 'ann' in folders and 'img' in folders:
            yield Path(parent)
            folders[:] = [name for name in folders if name not in ('ann', 'img')]
