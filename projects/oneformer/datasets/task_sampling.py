"""Sec. 3.1, task sampling: one task per image and iteration, its targets, its texts.

A task is a relabelling of panoptic segments: panoptic keeps them, instance drops stuff, semantic
merges them by class. Crowd segments and void belong to no target of any task.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from ..tasks import TASKS, check_task
from ..texts import target_texts

# which key makes two segments one target, None drops the segment
_TARGET_OF = dict(
    panoptic=lambda index, segment: index,
    instance=lambda index, segment: index if segment['isthing'] else None,
    semantic=lambda index, segment: segment['label'],
)


def derive_targets(
    segment_map: np.ndarray, segments: Sequence[Mapping], task: str
) -> tuple[np.ndarray, np.ndarray]:
    """Relabel a map of segments as the targets of a task.

    Args:
        segment_map: Of shape (H, W): 0 is void, k is ``segments[k - 1]``.
        segments: Dicts with ``label``, ``isthing`` and ``iscrowd``. Those without a pixel in the
            map (lost in a crop, say) make no target.
        task: A task word.

    Returns:
        Labels of the N targets in the order of first occurrence in ``segments``, int64 (N,), and
        the target map of shape (H, W) and the dtype of ``segment_map``: 0 is none, k is target
        k - 1.

    Raises:
        ValueError: For a word that is not a task.
    """
    target_of = _TARGET_OF[check_task(task)]
    present = np.bincount(segment_map.ravel(), minlength=len(segments) + 1) > 0
    lookup = np.zeros(len(segments) + 1, segment_map.dtype)
    targets, labels = {}, []
    for index, segment in enumerate(segments, start=1):
        target = target_of(index, segment)
        if target is None or segment['iscrowd'] or not present[index]:
            continue
        if target not in targets:
            targets[target] = len(targets) + 1
            labels.append(segment['label'])
        lookup[index] = targets[target]
    return np.array(labels, np.int64), lookup[segment_map]


@TRANSFORMS.register_module()
class SampleTask(BaseTransform):
    """Draw the task of a training image and derive its targets and texts.

    It follows the geometric transforms, which only ever see one map of segments.

    Required keys: ``gt_seg_map``, ``segments_info``, ``classes``. Added: ``task``, ``texts``,
    ``gt_labels``; ``gt_seg_map`` becomes the target map.

    Args:
        probs: Weight of each task word; words left out are never drawn. Uniform by default.

    Raises:
        ValueError: For a word that is not a task, or weights that are negative or all zero.
    """

    def __init__(self, probs: Mapping[str, float] | None = None) -> None:
        probs = dict(probs) if probs else dict.fromkeys(TASKS, 1.0)
        self.tasks = [check_task(task) for task in probs]
        weights = np.array(list(probs.values()), np.float64)
        if (weights < 0).any() or weights.sum() == 0:
            raise ValueError(f'task weights must be positive numbers, not {probs}')
        self.probs = weights / weights.sum()

    def transform(self, results: dict) -> dict:
        """Add the task and what it asks for."""
        task = str(np.random.choice(self.tasks, p=self.probs))
        labels, target_map = derive_targets(results['gt_seg_map'], results['segments_info'], task)
        results['task'] = task
        results['gt_labels'] = labels
        results['gt_seg_map'] = target_map
        results['texts'] = target_texts(labels, results['classes'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(probs={dict(zip(self.tasks, self.probs.round(4)))})'
