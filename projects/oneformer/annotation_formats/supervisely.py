"""Read projects of Supervisely: meta.json, and per dataset the folders ann and img."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from typing_extensions import override

from .annotated import AnnotatedImage, AnnotationSource, SourceImage
from .bitmaps import decode_base64, mask_of_png, unpack
from .drawing import Drawing, Piece, box_piece, outline_points
from .options import add_boxes, add_without_labels, draw_box, without_labels_note
from .reading import expect, read_json, some, whole
from .supervisely_files import SuperviselyFiles

_AREAS = ('polygon', 'bitmap', 'alpha_mask', 'rectangle')
_NOT_AREAS = ('point', 'line', 'graph', 'cuboid', 'cuboid_2d', 'oriented_bbox', 'polyline')


class SuperviselySource(AnnotationSource):
    """A project of Supervisely, or one of its datasets."""

    title = 'Supervisely: the folder of a project, with meta.json'

    def __init__(self, path: Path, **options) -> None:
        super().__init__(path, **options)
        self._files = SuperviselyFiles(path)

    @classmethod
    @override
    def add_options(cls, parser: ArgumentParser) -> None:
        add_boxes(parser)
        add_without_labels(parser, 'skip', 'images without a JSON file')

    @override
    def find(self) -> tuple[list[SourceImage], list[str]]:
        images, problems = self._files.find()
        self._categories, self._folder = self._files.categories, self._files.folder
        if self.options.get('without_labels') == 'keep':
            images = sorted(images + self._files.without, key=lambda image: image.name)
        return images, problems

    @override
    def notes(self) -> list[str]:
        names = [image.name for image in self._files.without]
        choice = self.options.get('without_labels') or 'skip'
        return self._files.notes + without_labels_note(names, choice, 'have no JSON file')

    def read(self, image: SourceImage) -> AnnotatedImage:
        """Read the objects of a JSON; figures of one class and instance key are one object."""
        if image.annotation is None:
            return Drawing(image.path, image.path).done()
        file = image.annotation[0]
        content = expect(read_json(file), dict, f'{file}: its content')
        size = expect(content.get('size'), dict, f'{file}: size')
        stated = tuple(whole(size.get(k), f'{file}: size, {k}', 1) for k in ('height', 'width'))
        drawing = Drawing(image.path, file, stated)
        objects: dict[Any, list[tuple[int, str, Piece]]] = {}
        for number, figure in enumerate(expect(content.get('objects'), list, f'{file}: objects')):
            where = f'object {figure.get("id", number)}' if isinstance(figure, dict) else 'object'
            expect(figure, dict, f'{file}: {where}')
            name = self._class(figure, f'{file}: {where}')
            kind = self._kind(figure, name, f'{file}: {where}')
            if kind in _NOT_AREAS:
                drawing.lose(f'objects of type {kind}', f'{where} ({name!r}) is not an area')
            elif kind == 'rectangle':
                piece = _rectangle(figure, f'{file}: {where}', where)
                draw_box(drawing, self.options.get('boxes'), name, piece, where, order=number)
            else:
                piece = _piece(figure, kind, drawing.frame.drawn, f'{file}: {where}', where)
                key = figure.get('instance')
                key = number if key is None else (name, str(key))
                objects.setdefault(key, []).append((number, name, piece))
        for members in objects.values():
            number, name, first = members[-1][0], members[0][1], members[0][2]
            pieces = [piece for _, _, piece in members]
            drawing.add(name, pieces, first.where, order=number)
        tags = expect(content.get('tags') or [], list, f'{file}: tags')
        if tags:
            named = some(t.get('name') if isinstance(t, dict) else t for t in tags)
            drawing.lose('tags of images', f'the tags {named} of the image are left out')
        return drawing.done()

    def _class(self, figure: Mapping, place: str) -> str:
        name = figure.get('classTitle')
        if not isinstance(name, str) or name not in self._files.shapes:
            raise ValueError(
                f'{place} has the class {name!r}, which meta.json does not list: it has '
                f'{sorted(self._files.shapes)}. Add it there, or correct the object'
            )
        return name

    def _kind(self, figure: Mapping, name: str, place: str) -> str:
        """The geometry of a figure: its own word, else its class's."""
        kind = figure.get('geometryType') or self._files.shapes[name]
        if kind in (None, 'any'):
            kind = 'bitmap' if figure.get('bitmap') else 'polygon'
        if kind not in (*_AREAS, *_NOT_AREAS):
            raise ValueError(
                f'{place} has the geometry {kind!r}, which is not one of {_AREAS}: convert it in '
                'Supervisely, or remove it'
            )
        return kind


def _exterior(figure: Mapping, place: str) -> tuple[Any, Sequence]:
    points = expect(figure.get('points'), dict, f'{place}: points')
    holes = points.get('interior') or []
    return points.get('exterior'), expect(holes, list, f'{place}: interior')


def _rectangle(figure: Mapping, place: str, where: str) -> Piece:
    """A box, whose right and bottom pixels belong to it."""
    corners, _ = _exterior(figure, place)
    if not isinstance(corners, list) or len(corners) != 2:
        raise ValueError(f'{place} is a rectangle with the points {corners!r}, not two: correct it')
    first, second = outline_points([*corners, corners[0]], place)[:2]
    left, top = np.minimum(first, second)
    right, bottom = np.maximum(first, second) + 1
    return box_piece(left, top, right, bottom, where)


def _piece(figure: Mapping, kind: str, size: tuple[int, int], place: str, where: str) -> Piece:
    if kind == 'polygon':
        return _polygon(figure, size, place, where)
    bitmap = expect(figure.get('bitmap'), dict, f'{place}: bitmap')
    origin = expect(bitmap.get('origin'), list, f'{place}: origin')
    if len(origin) != 2:
        raise ValueError(f'{place}: origin is {origin!r}, not [x, y]: correct it')
    left, top = (whole(value, f'{place}: origin') for value in origin)
    name = f'{place}: bitmap'
    mask = mask_of_png(unpack(decode_base64(bitmap.get('data'), name), name), name)
    return Piece(mask=mask, corner=(left, top), where=where)


def _polygon(figure: Mapping, size: tuple[int, int], place: str, where: str) -> Piece:
    """The pixels of a polygon.

    Whole numbers are pixels on its outline, all of which belong to it, as Supervisely's own
    functions fill it; other numbers are positions in the image.
    """
    outline, holes = _exterior(figure, place)
    rings = [outline_points(outline, place)]
    rings += [outline_points(hole, f'{place}, a hole') for hole in holes]
    if any((ring % 1).any() for ring in rings):
        return Piece(rings[0], holes=rings[1:], where=where)
    low, high = rings[0].min(0).astype(int), rings[0].max(0).astype(int) + 1
    if (high - low).max() > 4 * max(size):
        raise ValueError(
            f'{place} leaves the image of {size[1]} x {size[0]} pixels by far: correct it'
        )
    mask = np.zeros((high - low)[::-1], np.uint8)
    shifted = [(ring - low).astype(np.int32) for ring in rings]
    cv2.fillPoly(mask, shifted[:1], 1)
    for ring in shifted[1:]:
        cv2.fillPoly(mask, [ring], 0)
    if (high <= np.array(size[::-1]) + 1).all():  # points on the right and lower edge of the image
        mask = mask[: size[0] - low[1], : size[1] - low[0]]
    return Piece(mask=mask.astype(bool), corner=tuple(low.tolist()), where=where)
