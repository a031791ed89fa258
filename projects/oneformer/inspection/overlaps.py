"""Pixels that overlaps hide, for each image of an instance dataset and for the summary."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..datasets.findings import WARNING, Finding, OnFinding
from ..datasets.hidden_pixels import rule_text
from ..datasets.pixel_counts import count_values


def count_stacks(
    region_map: np.ndarray, region_segments: Sequence[tuple[int, ...]] | None
) -> dict[tuple[int, ...], int]:
    """Pixels on which the same objects lie, topmost first; empty if there is no table."""
    counts = count_values(region_map).tolist()[1:] if region_segments else ()
    return {stack: count for stack, count in zip(region_segments or (), counts) if count}


def count_pixels(
    region_map: np.ndarray, num_segments: int, stacks: Mapping[tuple[int, ...], int]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of void and S segments, (S + 1,): where each is on top, and all of each.

    Args:
        region_map: Map of shape (H, W), see ``datasets.overlaps``.
        num_segments: S.
        stacks: See ``count_stacks``.
    """
    if not stacks:
        counts = count_values(region_map, num_segments + 1)
        return counts, counts
    visible, whole = (np.zeros(num_segments + 1, np.int64) for _ in range(2))
    for stack, count in stacks.items():
        visible[stack[0]] += count
        whole[list(stack)] += count
    visible[0] = whole[0] = region_map.size - visible.sum()
    return visible, whole


def count_hidden(segments: Sequence[Mapping], visible: np.ndarray, whole: np.ndarray) -> dict:
    """Count the pixels that overlaps hide in an image.

    Args:
        segments: Dicts with ``iscrowd``.
        visible: Pixels of each segment on which it is on top.
        whole: All pixels of each segment.

    Returns:
        Numbers of hidden ``objects`` and ``pixels``, and of all objects (``of``) and pixels
        (``whole``); crowds do not count.
    """
    kept = np.array([not segment['iscrowd'] for segment in segments], bool)
    hidden = (whole - visible)[kept]
    return dict(
        objects=int(np.count_nonzero(hidden)),
        pixels=int(hidden.sum()),
        of=int(np.count_nonzero(whole[kept])),
        whole=int(whole[kept].sum()),
    )


def check_covered(
    sample: Mapping, visible: np.ndarray, stacks: Mapping[tuple[int, ...], int], report: OnFinding
) -> None:
    """Report objects whose every pixel is hidden by others.

    Args:
        sample: Sample of an ``InstanceDataset``.
        visible: Pixels of each segment on which it is on top.
        stacks: See ``count_stacks``.
        report: Called with each finding.
    """
    segments = sample['segments_info']
    covered = {k for stack in stacks for k in stack if not visible[k - 1]}
    for k in sorted(covered):
        places = [stack for stack in stacks if k in stack]
        tops = sorted({stack[0] for stack in places})
        twin = next((t for t in tops if places == [s for s in stacks if t in s]), None)
        names = ', '.join(repr(segments[t - 1]['id']) for t in tops[:5])
        names += ', ...' * (len(tops) > 5)
        if twin is not None:
            kind, what = (
                'equal masks',
                f'has the same pixels as annotation {segments[twin - 1]["id"]!r}: remove one, if '
                'the object is annotated twice',
            )
        elif sample['overlaps'] == 'full':
            kind, what = (
                'instance without pixels',
                f"lies wholly below others ({names}): its mask is taught (overlaps='full'), but "
                'pictures and a panoptic ground truth do not show it; on_top sets another order',
            )
        else:
            kind, what = (
                'instance without pixels',
                f"is hidden by others ({names}) and teaches nothing: say overlaps='full' to "
                'teach its whole mask, or set another order by on_top',
            )
        segment = segments[k - 1]
        message = (
            f'{sample["ann_file"]}: annotation {segment["id"]} ({segment["category"]}) of image id '
            f'{sample["img_id"]} {what}'
        )
        report(Finding(kind, message, sample['ann_file'], segment['id'], WARNING))


def sum_hidden(counts: Sequence[Mapping]) -> dict | None:
    """Sum the pixels that overlaps hide in a dataset, with the worst image; None if none.

    Args:
        counts: Counts of its images: ``img_id``, and ``hidden`` of ``count_hidden``, or None.
    """
    counts = [count for count in counts if count['hidden'] is not None]
    worst = max(counts, key=lambda count: count['hidden']['pixels'], default=None)
    if worst is None or not worst['hidden']['pixels']:
        return None
    total = {
        key: sum(count['hidden'][key] for count in counts)
        for key in ('objects', 'pixels', 'of', 'whole')
    }
    return dict(
        objects=total['objects'],
        of_objects=total['of'],
        pixels=total['pixels'],
        share=total['pixels'] / total['whole'],
        images=sum(count['hidden']['pixels'] > 0 for count in counts),
        worst=dict(
            img_id=worst['img_id'],
            objects=worst['hidden']['objects'],
            pixels=worst['hidden']['pixels'],
            share=worst['hidden']['pixels'] / worst['hidden']['whole'],
        ),
    )


def overlap_note(
    hidden: Mapping, num_images: int, overlaps: str, on_top: str | Sequence[str]
) -> str:
    """``sum_hidden`` in words, with the rule of the dataset."""
    worst = hidden['worst']
    return (
        f'overlaps hide {hidden["pixels"]} pixels of {hidden["objects"]} of '
        f'{hidden["of_objects"]} objects ({100 * hidden["share"]:.1f} % of what objects cover), in '
        f'{hidden["images"]} of {num_images} images; most in image id {worst["img_id"]}: '
        f'{worst["pixels"]} pixels of {worst["objects"]} object{"s" * (worst["objects"] > 1)} '
        f'({100 * worst["share"]:.1f} %). {rule_text(overlaps, on_top)}'
    )
