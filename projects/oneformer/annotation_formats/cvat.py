"""Read the XML of CVAT: "CVAT for images 1.1"."""

import math
import xml.etree.ElementTree as ET
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from .annotated import AnnotatedImage, AnnotationSource, SourceImage
from .bitmaps import mask_of_runs
from .cvat_files import CvatFiles
from .drawing import Drawing, Piece
from .options import add_boxes, add_images, draw_box
from .reading import all_finite, finite, whole

_NOT_AREAS = ('polyline', 'points', 'skeleton', 'cuboid', 'tag')
_ELLIPSE_SIDES = 180


class CvatSource(AnnotationSource):
    """An annotations.xml of CVAT, or the folder of an export that was unpacked."""

    title = 'CVAT: annotations.xml of "CVAT for images 1.1", or the folder that it is in'

    def __init__(self, path: Path, **options) -> None:
        super().__init__(path, **options)
        self._files = CvatFiles(path, options)

    @classmethod
    @override
    def add_options(cls, parser: ArgumentParser) -> None:
        add_images(parser, 'images/ beside the XML, or its own folder')
        add_boxes(parser)
        parser.add_argument(
            '--groups',
            choices=('join', 'apart'),
            default='join',
            help='shapes of one label and group: "join" takes them as pieces of one object, as '
            'exports of CVAT do, "apart" as objects (%(default)s)',
        )

    @override
    def find(self) -> tuple[list[SourceImage], list[str]]:
        found = self._files.find()
        self._categories, self._folder = self._files.categories, self._files.folder
        return found

    @override
    def notes(self) -> list[str]:
        return self._files.notes

    @override
    def read(self, image: SourceImage) -> AnnotatedImage:
        file, text = image.annotation
        element = ET.fromstring(text)
        place = f'{file}: image {element.get("name")!r}'
        stated = tuple(whole(element.get(k), f'{place}: {k}', 1) for k in ('height', 'width'))
        drawing = Drawing(image.path, place, stated)
        groups: dict[tuple, list[tuple[int, ET.Element, Piece]]] = {}
        for number, shape in enumerate(element, 1):
            where = f'shape {number} ({shape.tag})'
            piece = self._piece(drawing, shape, where)
            if piece is not None:
                key = self._group(shape, number, f'{place}, {where}')
                groups.setdefault(key, []).append((number, shape, piece))
        for members in groups.values():
            self._add(drawing, members)
        return drawing.done()

    def _group(self, shape: ET.Element, number: int, place: str) -> tuple:
        """What shapes of one object have in common."""
        group = whole(shape.get('group_id', '0'), f'{place}: group_id', 0)
        if group and self.options.get('groups') != 'apart':
            return shape.get('label'), group, shape.tag == 'box'
        return ('', number)

    def _add(self, drawing: Drawing, members: Sequence[tuple[int, ET.Element, Piece]]) -> None:
        number, shape, piece = members[0]
        numbers = [n for n, _, _ in members]
        where = f'shape{"s" * (len(numbers) > 1)} {", ".join(map(str, numbers))}'
        heights = [
            finite(s.get('z_order', '0'), f'{drawing.file}, shape {n}: z_order')
            for n, s, _ in members
        ]
        options = dict(order=max(heights), extra=_attributes(shape))
        if shape.tag == 'box':
            for n, _, box in members:
                choice = self.options.get('boxes')
                draw_box(drawing, choice, shape.get('label'), box, f'shape {n}', **options)
        else:
            pieces = [piece for _, _, piece in members]
            drawing.add(shape.get('label'), pieces, where, **options)

    def _piece(self, drawing: Drawing, shape: ET.Element, where: str) -> Piece | None:
        """The area of a shape; None for one that has none, which is counted."""
        place = f'{drawing.file}, {where}'
        label = shape.get('label')
        if label not in self._files.labels:
            raise ValueError(
                f'{place} has the label {label!r}, which the XML does not list: it has '
                f'{sorted(self._files.labels)}. Add it there, or correct the shape'
            )
        if shape.tag == 'polygon':
            return Piece(_points(shape.get('points'), place), where=where)
        if shape.tag == 'mask':
            return _mask(shape, place, where)
        if shape.tag == 'box':
            return Piece(_box(shape, place), where=where)
        if shape.tag == 'ellipse':
            return Piece(_ellipse(shape, place), where=where)
        if shape.tag not in _NOT_AREAS:
            raise ValueError(f'{place} is not a shape of CVAT for images 1.1: remove it')
        drawing.lose(f'shapes of type {shape.tag}', f'{where} ({label!r}) is not an area')
        return None


def _attributes(shape: ET.Element) -> dict:
    """Attributes of a shape for the entry in a COCO JSON, as CVAT's own COCO files have them."""
    found = {a.get('name', ''): a.text or '' for a in shape.findall('attribute')}
    if shape.get('occluded') == '1':
        found['occluded'] = True
    return dict(attributes=found) if found else {}


def _points(text: str | None, place: str) -> list[list[float]]:
    """Points of a text ``x,y;x,y``."""
    points = []
    for number, pair in enumerate((text or '').split(';')):
        values = pair.split(',')
        if len(values) != 2:
            raise ValueError(f'{place}, point {number} is {pair!r}, not x,y: correct it')
        points.append([finite(value, f'{place}, point {number}') for value in values])
    return points


def _rotated(
    points: Sequence[tuple[float, float]], x: float, y: float, shape: ET.Element, place: str
) -> list[tuple[float, float]]:
    """Points turned about (x, y) by the rotation of a shape, in degrees clockwise."""
    angle = math.radians(finite(shape.get('rotation', '0'), f'{place}: rotation'))
    cosine, sine = math.cos(angle), math.sin(angle)
    return [
        (x + (a - x) * cosine - (b - y) * sine, y + (a - x) * sine + (b - y) * cosine)
        for a, b in points
    ]


def _box(shape: ET.Element, place: str) -> list[tuple[float, float]]:
    left, top, right, bottom = all_finite(shape.get, ('xtl', 'ytl', 'xbr', 'ybr'), place)
    points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    if not shape.get('rotation'):
        return points
    return _rotated(points, (left + right) / 2, (top + bottom) / 2, shape, place)


def _ellipse(shape: ET.Element, place: str) -> list[tuple[float, float]]:
    x, y, across, down = all_finite(shape.get, ('cx', 'cy', 'rx', 'ry'), place)
    step = 2 * math.pi / _ELLIPSE_SIDES
    larger = math.sqrt(step / math.sin(step))  # of the same area as the ellipse
    points = [
        (x + larger * across * math.cos(k * step), y + larger * down * math.sin(k * step))
        for k in range(_ELLIPSE_SIDES)
    ]
    return _rotated(points, x, y, shape, place)


def _mask(shape: ET.Element, place: str, where: str) -> Piece:
    """A mask: runs within its own box, row by row, of which the first is outside."""
    left, top = (whole(shape.get(key), f'{place}: {key}') for key in ('left', 'top'))
    height, width = (whole(shape.get(key), f'{place}: {key}', 1) for key in ('height', 'width'))
    runs = [
        whole(text, f'{place}: a run', 0)
        for text in (shape.get('rle') or '').split(',')
        if text.strip()
    ]
    mask = mask_of_runs(runs, height, width, f'{place}: rle')
    return Piece(mask=mask, corner=(left, top), where=where)
