"""Read the JSON export of Label Studio: polygons, brushes, bitmasks, boxes and ellipses."""

import math
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from .annotated import AnnotatedImage, AnnotationSource, Category, SourceImage
from .bitmaps import decode_base64, mask_of_png
from .brush import decode_brush
from .drawing import Drawing, Piece
from .label_studio_tasks import AREAS, Drawn, LabelStudioTasks, drawn_by, stated_size
from .options import add_boxes, add_images, add_without_labels, draw_box, without_labels_note
from .reading import all_finite, expect, finite

_ELLIPSE_SIDES = 180


class LabelStudioSource(AnnotationSource):
    """A JSON export of Label Studio."""

    title = 'Label Studio: the file of its JSON export (not JSON-MIN)'

    def __init__(self, path: Path, **options) -> None:
        super().__init__(path, **options)
        self._tasks = LabelStudioTasks(path, options)

    @classmethod
    @override
    def add_options(cls, parser: ArgumentParser) -> None:
        add_images(parser, 'images/ beside the JSON, or its own folder')
        parser.add_argument(
            '--annotation',
            choices=('first', 'latest'),
            help='which annotation counts of a task that has several and none marked as ground '
            'truth (without it such tasks are an error)',
        )
        add_boxes(parser)
        add_without_labels(parser, 'skip', 'tasks that nobody has annotated')

    @override
    def find(self) -> tuple[list[SourceImage], list[str]]:
        found = self._tasks.find()
        self._categories, self._folder = list(map(Category, self._tasks.labels)), self._tasks.folder
        return found

    @override
    def notes(self) -> list[str]:
        choice = self.options.get('without_labels') or 'skip'
        return self._tasks.notes + without_labels_note(
            self._tasks.without, choice, 'have a task without annotation'
        )

    @override
    def read(self, image: SourceImage) -> AnnotatedImage:
        task, results = image.annotation
        place = f'{self._tasks.file}: task {task}'
        drawing = Drawing(image.path, place, stated_size(results, place))
        for order, drawn in enumerate(drawn_by(results)):
            where = f'region {drawn.result.get("id", order)!r}'
            if drawn.kind in AREAS:
                self._add(drawing, drawn, where, order)
            elif drawn.kind is not None:
                drawing.lose(f'regions of type {drawn.kind}', f'{where} is not an area')
            elif not drawn.labels:
                kind = str(drawn.result.get('type'))
                drawing.lose(f'answers of type {kind}', f'{where} ({kind}) is not an area')
        return drawing.done()

    def _add(self, drawing: Drawing, drawn: Drawn, where: str, order: int) -> None:
        place = f'{drawing.file}, {where}'
        result, kind, names = drawn.result, drawn.kind, drawn.labels
        if not names:
            drawing.lose('regions without a label', f'{where} ({kind}) has no label')
            return
        if len(names) > 1:
            raise ValueError(
                f'{place} has the labels {names}: an object has one class, so correct it (and set '
                'choice="single" in the labelling interface)'
            )
        if finite(result.get('image_rotation') or 0, f'{place}: image_rotation') % 360:
            raise ValueError(
                f'{place} was drawn on an image that was turned in the tool (image_rotation is '
                f'{result["image_rotation"]}): turn the image back, and draw the region again'
            )
        value = expect(result.get('value'), dict, f'{place}: value')
        piece = _piece(value, kind, drawing.frame.drawn, place, where)
        if kind == 'rectangle':
            draw_box(drawing, self.options.get('boxes'), names[0], piece, where, order=order)
        else:
            drawing.add(names[0], [piece], where, order=order)


def _piece(value: Mapping, kind: str, size: tuple[int, int], place: str, where: str) -> Piece:
    """The area of a region; coordinates are percents of the image."""
    height, width = size
    if 'rle' in value:
        numbers = expect(value['rle'], list, f'{place}: rle')
        return Piece(mask=decode_brush(numbers, height, width, f'{place}: rle'), where=where)
    if 'imageDataURL' in value:
        name = f'{place}: imageDataURL'
        mask = mask_of_png(decode_base64(value['imageDataURL'], name), name)
        if mask.shape != size:
            raise ValueError(
                f'{name} has {mask.shape[1]} x {mask.shape[0]} pixels, and the image {width} x '
                f'{height}: export it again'
            )
        return Piece(mask=mask, where=where)
    scale = np.array([width, height]) / 100
    if kind == 'polygon':
        points = expect(value.get('points'), list, f'{place}: points')
        return Piece(_scaled(points, scale, place), where=where)
    if kind == 'rectangle':
        return Piece(_box(value, scale, place), where=where)
    if kind == 'ellipse':
        return Piece(_ellipse(value, scale, place), where=where)
    raise ValueError(f'{place} is a {kind} with neither rle nor imageDataURL: export it again')


def _scaled(points: Sequence, scale: np.ndarray, place: str) -> list[tuple[float, float]]:
    found = []
    for number, point in enumerate(points):
        if not isinstance(point, list) or len(point) != 2:
            raise ValueError(f'{place}, point {number} is {point!r}, not [x, y]: correct it')
        x, y = (finite(value, f'{place}, point {number}') for value in point)
        found.append((x * scale[0], y * scale[1]))
    return found


def _turned(points: np.ndarray, center: np.ndarray, value: Mapping, place: str) -> np.ndarray:
    """Points in pixels turned clockwise by ``rotation``, in degrees."""
    angle = math.radians(finite(value.get('rotation') or 0, f'{place}: rotation'))
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return (points - center) @ turn + center


def _box(value: Mapping, scale: np.ndarray, place: str) -> Any:
    """Corners of a rectangle, which is turned about its upper left corner."""
    x, y, width, height = all_finite(value.get, ('x', 'y', 'width', 'height'), place)
    points = np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)]) * scale
    return _turned(points, points[0], value, place)


def _ellipse(value: Mapping, scale: np.ndarray, place: str) -> Any:
    """A polygon of the area of an ellipse, which is turned about its centre."""
    x, y, across, down = all_finite(value.get, ('x', 'y', 'radiusX', 'radiusY'), place)
    step = 2 * math.pi / _ELLIPSE_SIDES
    angles = np.arange(_ELLIPSE_SIDES) * step
    radii = np.array([across, down]) * scale * math.sqrt(step / math.sin(step))
    center = np.array([x, y]) * scale
    points = center + np.stack([np.cos(angles), np.sin(angles)], 1) * radii
    return _turned(points, center, value, place)
