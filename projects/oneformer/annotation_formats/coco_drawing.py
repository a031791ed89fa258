"""Objects of COCO's JSONs as regions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..run_length import code_area, encode_segmentation
from .annotated import Region
from .drawing import Drawing, Piece, box_piece


def draw(
    drawing: Drawing, annotation: Mapping, where: str, size: tuple[int, int], **options
) -> None:
    """Add an annotation of an image of (height, width) ``size``."""
    segmentation, category = annotation.get('segmentation'), annotation['category']
    if not segmentation:
        left, top, width, height = annotation['bbox']
        piece = box_piece(left, top, left + width, top + height)
        drawing.add(category, [piece], where, **options)
        return
    try:
        if isinstance(segmentation, list):
            pieces = [Piece(_pairs(polygon)) for polygon in segmentation]
        else:
            code = encode_segmentation(segmentation, *size)
    except ValueError as error:
        raise ValueError(f'{drawing.file}: {where}: {error}') from error
    if isinstance(segmentation, list):
        drawing.add(category, pieces, where, **options)
        return
    code = dict(code)
    if isinstance(code['counts'], str):
        code['counts'] = code['counts'].encode()
    if code_area(code):
        drawing.code(category, code, where, **options)
    else:
        drawing.lose('masks without a pixel', f'{where} has no pixel, and is left out')


def _pairs(polygon: object) -> list[tuple]:
    if not isinstance(polygon, list) or len(polygon) % 2 or len(polygon) < 6:
        found = f'{len(polygon)} numbers' if isinstance(polygon, list) else repr(polygon)
        raise ValueError(
            f'a polygon is {found}, not [x1, y1, x2, y2, ...] of at least three points: remove '
            'it, or draw it again'
        )
    return list(zip(polygon[::2], polygon[1::2]))


def smaller_above(regions: Sequence[Region], height: int, width: int) -> list[Region]:
    """Regions, in their order, stacked so that smaller ones lie above; crowds lie below all."""
    areas = [code_area(region.encoded(height, width)) for region in regions]
    ranked = sorted(range(len(regions)), key=lambda i: (not regions[i].crowd, -areas[i]))
    order = {index: rank for rank, index in enumerate(ranked)}
    return [replace(region, order=order[index]) for index, region in enumerate(regions)]
