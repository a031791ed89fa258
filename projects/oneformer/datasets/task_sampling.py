"""Sec. 3.1, task sampling: one task per image and iteration, its targets, its texts.

A task is a relabelling of panoptic segments: panoptic keeps them, instance drops stuff, semantic
merges them by class. Crowd segments and void belong to no target of any task; they are background,
as in the original, or unknown where the dataset says so.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from ..tasks import TASKS, Prompts, check_task
from .overlaps import derive_full_targets, topmost_map
from .pixel_counts import count_values

# which key makes two segments one target, None drops the segment
_TARGET_OF = dict(
    panoptic=lambda index, segment: index,
    instance=lambda index, segment: index if segment['isthing'] else None,
    semantic=lambda index, segment: segment['label'],
)


def derive_targets(
    segment_map: np.ndarray, segments: Sequence[Mapping], task: str, ignore: Collection[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Relabel a map of segments as the targets of a task.

    Args:
        segment_map: Map of shape (H, W): 0 is void, k is ``segments[k - 1]``.
        segments: Dicts with ``label``, ``isthing`` and ``iscrowd``. Those without a pixel in the
            map (lost in a crop, say) make no target.
        task: A task word.
        ignore: Kinds of pixels that are unknown, and not background: ``'void'``, ``'crowd'``.

    Returns:
        Labels of the N targets in the order of first occurrence in ``segments``, int64 (N,), and
        the target map of shape (H, W) and the dtype of ``segment_map``: k is target k - 1, 0 is
        background, -1 is unknown.

    Raises:
        ValueError: If the word is not a task.
    """
    target_of = _TARGET_OF[check_task(task)]
    present = count_values(segment_map, len(segments) + 1) > 0
    lookup = np.zeros(len(segments) + 1, segment_map.dtype)
    lookup[0] = -1 if 'void' in ignore else 0
    targets, labels = {}, []
    for index, segment in enumerate(segments, start=1):
        target = target_of(index, segment)
        if segment['iscrowd']:
            lookup[index] = -1 if 'crowd' in ignore else 0
            continue
        if target is None or not present[index]:
            continue
        if target not in targets:
            targets[target] = len(targets) + 1
            labels.append(segment['label'])
        lookup[index] = targets[target]
    return np.array(labels, np.int64), lookup.take(segment_map)


def unknown_pixels(results: Mapping, task: str) -> Collection[str]:
    """Kinds of pixels of a sample that are unknown for a task, see ``derive_targets``.

    Where not all of a class is annotated in the image, void may show more of it. Then it is not
    known where a target ends that consists of all that the image shows of the class.

    Args:
        results: Sample with ``segments_info`` and ``ignore``, and ``searched_labels`` if the
            labels have it.
        task: A task word.
    """
    ignore, searched = results['ignore'], results.get('searched_labels')
    if searched is None or 'void' in ignore or task == 'instance':
        return ignore
    whole = {
        segment['label']
        for segment in results['segments_info']
        if not segment['iscrowd'] and (task == 'semantic' or not segment['isthing'])
    }
    return ignore if whole <= set(searched) else (*ignore, 'void')


def sample_targets(results: Mapping, task: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Targets that a sample has for a task.

    The instance task takes whole masks of objects that overlap, the others let each pixel belong to
    the topmost alone.

    Args:
        results: Sample with ``gt_seg_map``, ``segments_info``, ``ignore``, ``region_segments``
            where objects overlap, and ``searched_labels`` if the labels have it.
        task: A task word.

    Returns:
        Labels (N,) and target map (H, W), see ``derive_targets``; and the regions (N, R) of the
        targets where they overlap, see ``derive_full_targets``, else None.
    """
    region_map, segments = results['gt_seg_map'], results['segments_info']
    region_segments, ignore = results.get('region_segments'), unknown_pixels(results, task)
    if region_segments is not None and check_task(task) == 'instance':
        return derive_full_targets(region_map, segments, region_segments, ignore)
    segment_map = topmost_map(region_map, region_segments)
    return *derive_targets(segment_map, segments, task, ignore), None


@TRANSFORMS.register_module()
class SampleTask(BaseTransform):
    """Draw the task of a training image and derive its targets and texts.

    It follows the geometric transforms, which only ever see one map of segments. Only tasks that
    the labels of the dataset can teach are drawn.

    Required keys: ``gt_seg_map``, ``segments_info``, ``classes``, ``tasks``, ``task_weights``,
    ``ignore``. Added: ``task``, ``texts``, ``filler`` (see ``texts.Prompts``), ``gt_labels``;
    ``gt_seg_map`` becomes the target map, and ``segments_info``, which no longer fits, is removed.
    Where targets overlap, that map numbers regions, and ``gt_regions`` (N, R) says which of them
    each target consists of (see ``sample_targets``).

    Args:
        probs: Weight of each task word; words left out are never drawn. Uniform by default. The
            weights of a ``JointDataset`` come before these.
        prompts: Arguments of ``texts.Prompts``; those of the original by default.

    Raises:
        ValueError: If a word is not a task, or weights are negative or all zero.
    """

    def __init__(
        self, probs: Mapping[str, float] | None = None, prompts: Mapping | None = None
    ) -> None:
        self.probs = dict(probs) if probs else dict.fromkeys(TASKS, 1.0)
        self.prompts = Prompts(**(prompts or {}))
        self._shares(self.probs, TASKS)

    def _shares(self, weights: Mapping[str, float], tasks: Collection[str]) -> tuple:
        """The words among ``tasks`` that have a weight, and their probabilities."""
        words = [task for task in map(check_task, weights) if task in tasks]
        values = np.array([weights[task] for task in words], np.float64)
        if (values < 0).any() or values.sum() == 0:
            raise ValueError(
                f'task weights must not be negative, nor all zero for {list(tasks)}, which the '
                f'labels can teach; they are {dict(weights)}'
            )
        return words, values / values.sum()

    def transform(self, results: dict) -> dict:
        """Add the task, its targets and its texts."""
        weights = results['task_weights']
        words, shares = self._shares(self.probs if weights is None else weights, results['tasks'])
        task = str(np.random.choice(words, p=shares))
        labels, target_map, regions = sample_targets(results, task)
        results['ignore'] = unknown_pixels(results, task)
        for key in ('segments_info', 'region_segments'):
            results.pop(key, None)
        if regions is not None:
            results['gt_regions'] = regions
        results['task'] = task
        results['gt_labels'] = labels
        results['gt_seg_map'] = target_map
        results['texts'] = self.prompts.targets(labels, results['classes'])
        results['filler'] = self.prompts.filler_of(task)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(probs={self.probs})'
