"""The part of an image in COCO instance files, COCO panoptic files or label PNGs."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils
from typing_extensions import override

from ..host.safe_io import write_png
from ..panoptic_codes import boxes_of_ids, id_picture
from ..run_length import code_area, decode_mask, json_code
from .annotated import AnnotatedImage, Category, Loss, Region, SourceImage


@dataclass(frozen=True)
class Part:
    """Facts about a converted image, as the hidden folder keeps them.

    Attributes:
        name: Path of the image below the folder of images.
        height: Pixels of the image.
        width: Pixels of the image.
        annotations: Entries of a COCO JSON, with the name of a class in place of ``category_id``.
        counts: Regions of each class.
        losses: (kind, message) of what was left out.
        known: Names of classes under COCO's or LVIS's keys of an image.
        unlabelled: Share of the pixels that belong to no region, 0 to 1.
    """

    name: str
    height: int
    width: int
    annotations: list[dict]
    counts: dict[str, int]
    losses: list[tuple[str, str]]
    known: dict[str, list[str]]
    unlabelled: float = 0.0


def _known_classes(annotated: AnnotatedImage) -> dict[str, list[str]]:
    """Which classes were looked for, under the keys of LVIS."""
    known = {}
    if annotated.searched is not None:
        present = {region.category for region in annotated.regions}
        known['neg_category_ids'] = [n for n in annotated.searched if n not in present]
    if annotated.incomplete:
        known['not_exhaustive_category_ids'] = list(annotated.incomplete)
    return known


def _with_pixels(
    image: SourceImage, annotated: AnnotatedImage, regions: Sequence[Region]
) -> tuple[list[tuple[Region, dict]], list[Loss]]:
    """Regions, lower ones first, with codes, and losses of those that cover no pixel's centre."""
    found, losses = [], list(annotated.losses)
    for region in sorted(regions, key=lambda region: region.order):
        code = region.encoded(annotated.height, annotated.width)
        if code_area(code):
            found.append((region, code))
        else:
            message = f'{image.name}, {region.where or region.category}: no pixel of the image'
            losses.append(Loss('region without a pixel', message))
    return found, losses


class Output(ABC):
    """One kind of result.

    Args:
        folder: Folder of the results.
        categories: Classes in the order of the results, each with ``is_thing`` known.
        pngs: Name of each image's PNG below its folder, by the name of the image.
    """

    png_folder: str | None = None

    def __init__(
        self, folder: Path, categories: Sequence[Category], pngs: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.categories = list(categories)
        self.category_of = {category.name: category for category in categories}
        self.pngs = pngs

    def png_of(self, name: str) -> Path | None:
        """The PNG of an image."""
        return self.png_folder and self.folder / self.png_folder / self.pngs[name]

    @abstractmethod
    def part(self, image: SourceImage, annotated: AnnotatedImage, scratch: Path) -> Part:
        """Write the PNG of an image by way of the folder ``scratch``, and return the rest."""

    def _part(self, image: SourceImage, annotated: AnnotatedImage, regions, **values) -> Part:
        values['losses'] = [(loss.kind, loss.message) for loss in values['losses']]
        return Part(
            image.name,
            annotated.height,
            annotated.width,
            counts=dict(Counter(region.category for region in regions)),
            known=_known_classes(annotated),
            **values,
        )


class InstanceOutput(Output):
    """A COCO instance JSON; polygons stay polygons."""

    @override
    def part(self, image: SourceImage, annotated: AnnotatedImage, scratch: Path) -> Part:
        things = [r for r in annotated.regions if self.category_of[r.category].is_thing]
        # later in the JSON is what lies above
        found, losses = _with_pixels(image, annotated, things)
        annotations = [
            dict(
                category=region.category,
                segmentation=region.polygons or json_code(code),
                bbox=mask_utils.toBbox(code).tolist(),
                area=code_area(code),
                iscrowd=int(region.crowd or region.ignored),
                **region.extra,
            )
            for region, code in found
        ]
        regions = [region for region, _ in found]
        return self._part(image, annotated, regions, annotations=annotations, losses=losses)


def _paint(
    image: SourceImage, annotated: AnnotatedImage
) -> tuple[np.ndarray, list[Region], list[Loss]]:
    """The number, from 1, of the region on top at each pixel (0 for none), these, and losses."""
    found, losses = _with_pixels(image, annotated, annotated.regions)
    numbers = np.zeros((annotated.height, annotated.width), np.int32)
    for number, (region, code) in enumerate(found, 1):
        numbers[decode_mask(code)] = 0 if region.ignored else number
    return numbers, [region for region, _ in found], losses


class PanopticOutput(Output):
    """A COCO panoptic JSON and its PNGs: a pixel belongs to the region on top."""

    png_folder = 'segments'

    @override
    def part(self, image: SourceImage, annotated: AnnotatedImage, scratch: Path) -> Part:
        numbers, regions, losses = _paint(image, annotated)
        # the areas of a class that is not counted are one segment
        segment_of, owners = np.zeros(len(regions) + 1, np.int32), []
        known: dict[int | str, int] = {}
        for number, region in enumerate(regions, 1):
            if region.ignored:
                continue
            key = number if self.category_of[region.category].is_thing else region.category
            if key not in known:
                owners.append(region)
            segment_of[number] = known.setdefault(key, len(owners))
        segments = segment_of[numbers]
        areas = np.bincount(segments.ravel(), minlength=len(owners) + 1)
        boxes = boxes_of_ids(segments, range(1, len(owners) + 1))
        entries = []
        for segment, (region, box) in enumerate(zip(owners, boxes), 1):
            if box:
                entries.append(self._entry(segment, region, int(areas[segment]), box))
            else:
                message = f'{image.name}, {region.where or region.category}: others cover it'
                losses.append(Loss('region wholly covered by others', message))
        write_png(self.png_of(image.name), id_picture(segments), scratch)
        return self._part(
            image,
            annotated,
            [owners[entry['id'] - 1] for entry in entries],
            annotations=entries,
            losses=losses,
            unlabelled=float(areas[0] / segments.size),
        )

    def _entry(self, segment: int, region: Region, area: int, box: list[int]) -> dict:
        crowd = region.crowd and bool(self.category_of[region.category].is_thing)
        return dict(
            id=segment,
            category=region.category,
            area=area,
            bbox=box,
            iscrowd=int(crowd),
            **region.extra,
        )


class SemanticOutput(Output):
    """A PNG of class numbers for each image, 255 where there is no region."""

    png_folder = 'labels'
    void = 255

    @override
    def part(self, image: SourceImage, annotated: AnnotatedImage, scratch: Path) -> Part:
        numbers, regions, losses = _paint(image, annotated)
        label_of = {category.name: i for i, category in enumerate(self.categories)}
        values = np.array([self.void, *(label_of[r.category] for r in regions)], np.uint8)
        write_png(self.png_of(image.name), values[numbers], scratch)
        return self._part(
            image,
            annotated,
            regions,
            annotations=[],
            losses=losses,
            unlabelled=float((numbers == 0).mean()),
        )


OUTPUTS = dict(instance=InstanceOutput, panoptic=PanopticOutput, semantic=SemanticOutput)
