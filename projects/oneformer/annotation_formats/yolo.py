"""Read YOLO's segmentation labels: a text file per image, a polygon per row."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from .annotated import AnnotatedImage, AnnotationSource, Category, SourceImage
from .drawing import Drawing, Piece, box_piece
from .options import add_boxes, add_without_labels, draw_box, without_labels_note
from .reading import finite, name_problems, read_text, whole
from .yolo_files import Found, find_files
from .yolo_names import Names, find_names

_BEYOND = 0.1  # share of the size of the image by which a polygon may leave it
_BOX = 4  # numbers


class YoloSource(AnnotationSource):
    """A data.yaml of YOLO, or a folder of images with a text file beside each."""

    title = 'YOLO segmentation: data.yaml, or a folder of images and .txt files'

    def __init__(self, path: Path, **options) -> None:
        super().__init__(path, **options)
        self._names = Names({}, None)
        self._files = Found()

    @classmethod
    @override
    def add_options(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            '--classes',
            nargs='+',
            metavar='CLASS',
            help='names of classes 0, 1, ..., or a text file with one a line; needed where there '
            'is not a data.yaml',
        )
        add_boxes(parser)
        add_without_labels(parser, 'keep', 'images without a label file')

    @override
    def find(self) -> tuple[list[SourceImage], list[str]]:
        self._names, problems = find_names(self.path, self.options.get('classes'))
        if problems:
            return [], problems
        names = list(self._names.by_number.values())
        problems = name_problems(names, self._names.file or '--classes')
        self._files = find_files(self.path, self._names.config, self._names.config_path)
        self._categories, self._folder = list(map(Category, names)), self._files.folder
        problems += self._files.problems
        skip = self.options.get('without_labels') == 'skip'
        images = [
            SourceImage(name, path, split, (label, self._names.file))
            for name, path, split, label in self._files.images
            if label is not None or not skip
        ]
        return images, problems

    @override
    def notes(self) -> list[str]:
        images = self._files.images
        missing = [name for name, *_, label in images if label is None]
        choice = self.options.get('without_labels') or 'keep'
        notes = self._files.notes + without_labels_note(missing, choice, 'have no label file')
        empty = sum(label is not None and not label.stat().st_size for *_, label in images)
        if empty:
            notes.append(f'{empty} images have an empty label file: nothing is in them')
        return notes

    @override
    def read(self, image: SourceImage) -> AnnotatedImage:
        label = image.annotation[0]
        drawing = Drawing(image.path, label or image.path)
        if label is not None:
            for number, line in enumerate(read_text(label, 'label file').splitlines(), 1):
                if line.strip():
                    self._read_row(drawing, line.split(), f'line {number}', number)
        return drawing.done()

    def _read_row(self, drawing: Drawing, row: list[str], where: str, order: int) -> None:
        place = f'{drawing.file}: {where}'
        category = self._category(row[0], place)
        values = [finite(value, f'{place}: a coordinate') for value in row[1:]]
        if len(values) % 2 or not values:
            raise ValueError(
                f'{place} has {len(values)} numbers after the class: a polygon is pairs x y, and a '
                'box 4 numbers (predictions with a confidence at the end have one more: write them '
                'without)'
            )
        self._check_range(values, drawing, place)
        height, width = drawing.frame.drawn
        if len(values) == _BOX:
            x, y, w, h = values
            piece = box_piece(
                (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
            )
            draw_box(drawing, self.options.get('boxes'), category, piece, where, order=order)
            return
        points = [(x * width, y * height) for x, y in zip(values[::2], values[1::2])]
        drawing.add(category, [Piece(points)], where, order=order)

    def _category(self, text: str, place: str) -> str:
        number = whole(text, f'{place}: class', 0)
        names = self._names.by_number
        if number not in names:
            raise ValueError(
                f'{place} has class {number}, and {self._names.file or "--classes"} names '
                f'{sorted(names)}: add its name, or correct the line'
            )
        return names[number]

    def _check_range(self, values: Sequence[float], drawing: Drawing, place: str) -> None:
        wrong = [value for value in values if not -_BEYOND <= value <= 1 + _BEYOND]
        if not wrong:
            return
        height, width = drawing.frame.drawn
        fits = min(values) >= 0 and max(values[::2]) <= width and max(values[1::2]) <= height
        meant = (
            f'pixels of the image, {width} x {height}, it seems'
            if fits and max(values) > 1
            else 'far outside of the image'
        )
        raise ValueError(
            f'{place} has the coordinate {wrong[0]:g}, {meant}: coordinates of YOLO are shares of '
            'width and height, 0 to 1; divide each x by the width and each y by the height'
        )
