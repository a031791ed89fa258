"""Read labelme's JSON files, one beside each image: versions 3 to 6."""

import math
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import override

from .annotated import AnnotatedImage, AnnotationSource, Category, SourceImage
from .bitmaps import decode_base64, mask_of_png
from .drawing import Drawing, Piece, box_piece
from .labelme_files import LabelmeFiles, stated_size
from .options import add_boxes, add_images, add_without_labels, draw_box, without_labels_note
from .reading import expect, finite, read_json, some, spelling_problems, whole

_NOT_AREAS = ('point', 'points', 'line', 'linestrip')


class LabelmeSource(AnnotationSource):
    """A folder of labelme's JSON files, with sub-folders, or one of these files."""

    title = 'labelme: a folder of images with a JSON file beside each'

    def __init__(self, path: Path, **options) -> None:
        super().__init__(path, **options)
        self._files = LabelmeFiles(path, options.get('images'), options.get('extract'))

    @classmethod
    @override
    def add_options(cls, parser: ArgumentParser) -> None:
        add_images(parser, 'what imagePath says')
        parser.add_argument(
            '--extract',
            metavar='FOLDER',
            help='write images that are only in the JSON files (imageData) to this folder',
        )
        add_boxes(parser, 'keep')
        add_without_labels(parser, 'skip', 'images without a JSON file')

    @override
    def find(self) -> tuple[list[SourceImage], list[str]]:
        found = self._files.find()
        names = sorted(found.labels)
        problems = found.problems + [
            f'{found.labels[name]}: a shape has the empty label {name!r}: name it'
            for name in names
            if not name.strip()
        ]
        problems += spelling_problems(names, self.path)
        self._categories, self._folder = list(map(Category, names)), self._files.folder
        kept = found.without if self.options.get('without_labels') == 'keep' else []
        return sorted(found.images + kept, key=lambda image: image.name), problems

    @override
    def notes(self) -> list[str]:
        names = [image.name for image in self._files.found.without]
        choice = self.options.get('without_labels') or 'skip'
        return self._files.found.notes + without_labels_note(names, choice, 'have no JSON file')

    def read(self, image: SourceImage) -> AnnotatedImage:
        """Read the shapes of a JSON file; those of one label and ``group_id`` are one object."""
        if image.annotation is None:
            return Drawing(image.path, image.path).done()
        file = image.annotation
        content = expect(read_json(file), dict, f'{file}: its content')
        drawing = Drawing(image.path, file, stated_size(content, file))
        objects: dict[Any, list[tuple[int, Mapping, Piece]]] = {}
        for number, shape in enumerate(expect(content.get('shapes'), list, f'{file}: shapes'), 1):
            where = f'shape {number}'
            expect(shape, dict, f'{file}: {where}')
            piece = self._piece(drawing, shape, where)
            if piece is not None:
                group = shape.get('group_id')
                key = number if group is None else (shape['label'], str(group))
                objects.setdefault(key, []).append((number, shape, piece))
        for members in objects.values():
            self._add(drawing, members)
        flags = content.get('flags')
        if isinstance(flags, dict) and any(flags.values()):
            named = some(repr(name) for name, value in flags.items() if value)
            drawing.lose('flags of images', f'the flags {named} of the image are left out')
        return drawing.done()

    def _add(self, drawing: Drawing, members: Sequence[tuple[int, Mapping, Piece]]) -> None:
        numbers = [number for number, _, _ in members]
        first = members[0][1]
        where = f'shape{"s" * (len(numbers) > 1)} {", ".join(map(str, numbers))}'
        options = dict(order=max(numbers), extra=_extra(first))
        kept = [p for _, shape, p in members if shape.get('shape_type') != 'rectangle']
        boxes = [(n, p) for n, shape, p in members if shape.get('shape_type') == 'rectangle']
        choice = self.options.get('boxes') or 'keep'
        if boxes and (not kept or choice != 'keep'):
            for number, piece in boxes:
                draw_box(drawing, choice, first['label'], piece, f'shape {number}', **options)
        if kept:
            pieces = [*kept, *(piece for _, piece in boxes if choice == 'keep')]
            drawing.add(first['label'], pieces, where, **options)

    def _piece(self, drawing: Drawing, shape: Mapping, where: str) -> Piece | None:
        """The area of a shape; None for one that has none, which is counted."""
        place = f'{drawing.file}: {where}'
        label = expect(shape.get('label'), str, f'{place}: label')
        kind = shape.get('shape_type') or 'polygon'
        points = expect(shape.get('points'), list, f'{place}: points')
        if kind in ('polygon', 'oriented_rectangle'):
            return Piece(points, where=where)
        if kind in _NOT_AREAS:
            drawing.lose(f'shapes of type {kind}', f'{where} ({label!r}) is a {kind}, not an area')
            return None
        if kind not in ('rectangle', 'circle', 'mask'):
            raise ValueError(
                f'{place} has the shape_type {kind!r}, which is not one of labelme 3 to 6: draw it '
                'as a polygon, or remove it'
            )
        (x1, y1), (x2, y2) = _two_points(points, f'{place}, a {kind},')
        if kind == 'rectangle':
            return box_piece(x1, y1, x2, y2, where)
        if kind == 'circle':
            return Piece(_circle(x1, y1, math.hypot(x2 - x1, y2 - y1)), where=where)
        corners = int(min(x1, x2)), int(min(y1, y2)), int(max(x1, x2)), int(max(y1, y2))
        return _mask_piece(shape.get('mask'), corners, place, where)


def _extra(shape: Mapping) -> dict:
    """What else a shape says, for the entry in a COCO JSON."""
    extra = {}
    if shape.get('group_id') is not None:
        extra['group_id'] = shape['group_id']
    if isinstance(shape.get('description'), str) and shape['description']:
        extra['description'] = shape['description']
    flags = shape.get('flags')
    if isinstance(flags, dict) and flags:
        extra['flags'] = flags
    return extra


def _two_points(points: Sequence, place: str) -> list[list[float]]:
    if len(points) != 2 or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise ValueError(f'{place} has the points {points!r}, not two (x, y): draw it again')
    return [[finite(value, f'{place} a point') for value in point] for point in points]


def _circle(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """A polygon of a circle's area."""
    sides = min(max(16, math.ceil(2 * math.pi * radius)), 720)
    step = 2 * math.pi / sides
    # of the same area as the circle
    radius *= math.sqrt(step / math.sin(step))
    return [
        (x + radius * math.cos(k * step), y + radius * math.sin(k * step)) for k in range(sides)
    ]


def _mask_piece(text: Any, corners: Sequence[int], place: str, where: str) -> Piece:
    """A mask in its box, whose right and bottom pixels belong to it."""
    if text is None:
        raise ValueError(f'{place} has the shape_type mask and no mask: draw it again')
    left, top, right, bottom = corners
    mask = mask_of_png(decode_base64(text, f'{place}: mask'), f'{place}: mask')
    size = bottom - top + 1, right - left + 1
    if mask.shape != size:
        raise ValueError(
            f'{place} has a mask of {mask.shape[1]} x {mask.shape[0]} pixels, and points of a box '
            f'of {size[1]} x {size[0]}: draw it again'
        )
    return Piece(mask=mask, corner=(whole(left, place), whole(top, place)), where=where)
