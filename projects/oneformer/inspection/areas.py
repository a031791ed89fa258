"""Areas in annotations, compared with the pixels of their masks: one finding per dataset."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..datasets.findings import ERROR, WARNING, Finding, OnFinding
from ..datasets.segment_map import decode_instances

_FAR = 0.1  # share of the pixels by which an area must differ to be counted apart
_ALIKE = 0.9  # share of the areas that a cause has to explain
_EXACT = 0.02  # share of the area by which a cause may be off


@dataclass(frozen=True)
class Disagreement:
    """A stated area that differs from the number of pixels.

    Attributes:
        id: Id of the segment or annotation.
        name: Name of it, for messages.
        stated: Area in the JSON.
        pixels: Pixels of the mask.
        box: Height and width of the box around the mask, in pixels.
    """

    id: int | str
    name: str
    stated: float
    pixels: int
    box: tuple[int, int]

    @property
    def share(self) -> float:
        """Size of the error as a share of the mask."""
        return abs(self.stated - self.pixels) / self.pixels


def _box(mask: np.ndarray) -> tuple[int, int]:
    """Height and width of the box around a mask (H, W) with at least one pixel."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def _is_of_box(error: Disagreement) -> bool:
    """Whether the area is that of the box, whose sides run between pixels."""
    height, width = error.box
    return (height - 1) * (width - 1) <= error.stated <= (height + 1) * (width + 1)


def check_panoptic_areas(
    sample: Mapping, segment_map: np.ndarray, pixels: np.ndarray, report: OnFinding
) -> list[Disagreement]:
    """Compare a sample of a ``PanopticDataset`` with the pixels of its PNG.

    The JSON may count pixels of stuff that things were painted over: ADE20K's official file does.

    Args:
        sample: Sample of the dataset.
        segment_map: Map of shape (H, W); k is segment k - 1.
        pixels: Pixels of each segment in the PNG.
        report: Callback for segments without pixels.

    Returns:
        The areas that are wrong.
    """
    segments, path, wrong = sample['segments_info'], sample['seg_map_path'], []
    covering = sum(int(n) for segment, n in zip(segments, pixels) if segment['isthing'])
    for number, (segment, count) in enumerate(zip(segments, pixels.tolist()), start=1):
        name = f'segment {segment["id"]} ({segment["category"]}) of image id {sample["img_id"]}'
        stuff = not segment['isthing']
        if count == 0:
            hint = '. Things may cover it, but PQ counts it as missed' if stuff else ''
            report(
                Finding(
                    'segment without pixels',
                    f'panoptic PNG {path} has no pixel of {name}, which {sample["ann_file"]} '
                    f'lists: remove it from segments_info, or correct the PNG{hint}',
                    path,
                    segment['id'],
                    WARNING if stuff else ERROR,
                )
            )
            continue
        area = segment.get('area', count)
        if not 0 <= area - count <= (covering if stuff else 0):
            box = _box(segment_map == number)
            wrong.append(Disagreement(segment['id'], name, area, count, box))
    return wrong


def check_instance_areas(
    sample: Mapping, segment_map: np.ndarray, pixels: np.ndarray, report: OnFinding
) -> list[Disagreement]:
    """Compare a sample of an ``InstanceDataset`` with its masks.

    Args:
        sample: Sample of the dataset.
        segment_map: Unused map of its segments.
        pixels: Pixels of each segment where it is on top.
        report: Callback for instances without pixels.

    Returns:
        The areas that are wrong.
    """
    undecodable, wrong = [], []
    masks = decode_instances(sample, lambda finding: undecodable.append(finding.id))
    for segment, mask, visible in zip(sample['segments_info'], masks, pixels):
        if segment['id'] in undecodable:
            continue
        name = f'annotation {segment["id"]} ({segment["category"]}) of image id {sample["img_id"]}'
        count = int(np.count_nonzero(mask))
        if visible == 0 and (count == 0 or segment['iscrowd']):
            why = 'is a crowd that others cover' if count else 'has no pixel inside the image'
            report(
                Finding(
                    'instance without pixels',
                    f'{sample["ann_file"]}: {name} {why} and teaches nothing: remove it, or '
                    'correct its segmentation',
                    sample['ann_file'],
                    segment['id'],
                    WARNING,
                )
            )
        # a polygon runs between pixels: half a pixel more or less along its outline
        outline = sum(int(mask.any(axis).sum()) for axis in (0, 1))
        tolerance = 0 if isinstance(segment['segmentation'], Mapping) else outline
        if count and abs(segment.get('area', count) - count) > tolerance:
            wrong.append(Disagreement(segment['id'], name, segment['area'], count, _box(mask)))
    return wrong


AREA_CHECKS: Mapping[str, Callable] = dict(
    panoptic=check_panoptic_areas, instance=check_instance_areas
)


def likely_cause(errors: Sequence[Disagreement]) -> str:
    """Likely reason of wrong areas, in words that end a sentence; empty if there is none."""
    if not any(e.stated for e in errors):
        return ': all of them are 0, so they were not computed'
    if all(e.stated <= 1 for e in errors):
        return ': all of them are 1 or less, so they may be shares of the image'
    if len(errors) < 2:
        return ''
    if sum(map(_is_of_box, errors)) >= _ALIKE * len(errors):
        return ': they are the areas of the boxes'
    scale = float(np.median([e.stated / e.pixels for e in errors]))
    alike = sum(abs(e.stated - scale * e.pixels) <= _EXACT * e.stated for e in errors)
    if abs(scale - 1) > _FAR and alike >= _ALIKE * len(errors):
        return (
            f': they are {scale:.3g} times the pixels, as if computed on images {scale**0.5:.3g} '
            'times as wide and high'
        )
    return ''


def sum_up_areas(ann_file: str, errors: Sequence[Disagreement], total: int) -> list[Finding]:
    """One finding for all areas of a dataset that disagree, none if none does."""
    if not errors:
        return []
    worst = max(errors, key=lambda error: error.share)
    far = sum(error.share > _FAR for error in errors)
    how_far = f'{far} of them by more than {_FAR:.0%}' if far else f'none by more than {_FAR:.0%}'
    message = (
        f'{ann_file}: the areas of {len(errors)} of {total} segments are not their numbers of '
        f'pixels, {how_far}, most that of {worst.name}: area {worst.stated}, {worst.pixels} '
        f'pixels{likely_cause(errors)}. PQ takes a stated area for that of the segment, and '
        'AP tells small objects from large ones by it: correct the areas, or leave them out; '
        'if all pictures are of other images, correct these'
    )
    return [Finding('areas disagree', message, ann_file, worst.id, WARNING)]
