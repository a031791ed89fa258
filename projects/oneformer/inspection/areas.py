"""Areas that annotations state, compared with the pixels of their masks: one finding per set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..datasets.findings import ERROR, WARNING, Finding, Report
from ..datasets.loading import decode_instances

_FAR = 0.1  # of the pixels: how much more or less is worth to be told apart
_ALIKE = 0.9  # share of the areas that a cause has to explain
_EXACT = 0.02  # how well, of the area


@dataclass(frozen=True)
class Disagreement:
    """An area that is not the number of pixels.

    Attributes:
        id: Of the segment or annotation.
        name: Of it, for messages.
        stated: Area in the JSON.
        pixels: Of the mask.
        box: Height and width of the box around the mask, in pixels.
    """

    id: int | str
    name: str
    stated: float
    pixels: int
    box: tuple[int, int]

    @property
    def share(self) -> float:
        """Size of the error in parts of the mask."""
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
    sample: Mapping, segment_map: np.ndarray, pixels: np.ndarray, report: Report
) -> list[Disagreement]:
    """Compare a sample of a ``PanopticDataset`` with the pixels of its PNG.

    Of stuff the JSON may count pixels that things were painted over: ADE20K's official file does.

    Args:
        sample: Of the data set.
        segment_map: Of shape (H, W), k is segment k - 1.
        pixels: Of each segment in the PNG.
        report: Gets segments without pixels.

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
    sample: Mapping, segment_map: np.ndarray, pixels: np.ndarray, report: Report
) -> list[Disagreement]:
    """Compare a sample of an ``InstanceDataset`` with its masks.

    Args:
        sample: Of the data set.
        segment_map: Not used.
        pixels: Of each segment, where it is on top.
        report: Gets instances without pixels.

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
            why = 'is a crowd that others cover' if count else 'has no pixel inside the photo'
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
    """Why areas may be wrong, in words that end a sentence; empty if they tell nothing."""
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
    """One finding for all areas of a set that disagree, none if none does.

    Args:
        ann_file: The JSON.
        errors: What disagrees.
        total: Number of segments that were compared.
    """
    if not errors:
        return []
    worst = max(errors, key=lambda error: error.share)
    far = sum(error.share > _FAR for error in errors)
    how_far = f'{far} of them by more than {_FAR:.0%}' if far else f'none by more than {_FAR:.0%}'
    return [
        Finding(
            'areas disagree',
            f'{ann_file}: the areas of {len(errors)} of {total} segments are not their numbers of '
            f'pixels, {how_far}, most that of {worst.name}: area {worst.stated}, {worst.pixels} '
            f'pixels{likely_cause(errors)}. PQ takes a stated area for that of the segment, and '
            'AP tells small objects from large ones by it: correct the areas, or leave them out; '
            'if all pictures are of other images, correct these',
            ann_file,
            worst.id,
            WARNING,
        )
    ]
