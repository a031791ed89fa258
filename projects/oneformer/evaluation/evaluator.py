"""An evaluator that lets other processes score, and says how long the run waits for that."""

import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR
from torch import Tensor

from ..host.transfers import fetch
from .data_sample import naming_image
from .image_metric import ImageMetric
from .mask_codes import encode_masks
from .score_workers import ScoreWorkers, is_apart

_FIELDS = dict(panoptic='pred_panoptic_seg', instance='pred_instances', semantic='pred_sem_seg')


def host_sample(sample: dict, tasks: Collection[str | None] = _FIELDS) -> dict:
    """A sample on the host, with codes in place of masks: small, and made for several metrics.

    Args:
        sample: A data sample as a dict, which is not changed.
        tasks: Tasks of the metrics, whose predictions it keeps; None among them keeps all.
    """
    left_out = () if None in tasks else [_FIELDS[task] for task in _FIELDS if task not in tasks]
    packed = {
        name: dict(part) if isinstance(part, dict) else part
        for name, part in sample.items()
        if name not in left_out
    }
    instances = packed.get('pred_instances') or {}
    masks = instances.get('masks')
    if isinstance(masks, Tensor):
        size = tuple(sample['ori_shape'][:2])
        if masks.shape == (len(instances.get('labels', ())), *size):  # else the metric complains
            instances['codes'] = encode_masks(instances.pop('masks'))
    places = [
        (part, name)
        for part in packed.values()
        if isinstance(part, dict)
        for name, value in part.items()
        if isinstance(value, Tensor)
    ]
    tensors = (part[name] for part, name in places)
    small = (t.int() if t.dtype == torch.int64 else t for t in tensors)
    for (part, name), tensor in zip(places, fetch(*small)):
        part[name] = tensor
    return packed


class Waited(NamedTuple):
    """How long a run waited for scoring.

    Attributes:
        seconds: Seconds in all.
        batches: Number of these batches.
    """

    seconds: float = 0.0
    batches: int = 0


@EVALUATOR.register_module()
class OneFormerEvaluator(Evaluator):
    """mmengine's evaluator with scoring in other processes, with the same results.

    Args:
        metrics: Metrics, or configs of them. Those of other projects score in the main process.
        workers: Processes that score; 0 for none.

    Attributes:
        waited: Since it was last set.
    """

    def __init__(self, metrics: Any, workers: int = 0) -> None:
        super().__init__(metrics)
        if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
            raise ValueError(
                f'score_workers is {workers!r}: it has to be a whole number of at least 0, the '
                'processes that score'
            )
        self.workers = workers
        self.waited = Waited()
        self._pool: ScoreWorkers | None = None

    def process(self, data_samples: Sequence, data_batch: Any = None) -> None:
        """Score images, or hand them over."""
        start = time.perf_counter()
        samples = [s if isinstance(s, dict) else s.to_dict() for s in data_samples]
        ours = [metric for metric in self.metrics if is_apart(metric)]
        try:
            for metric in self.metrics:
                if metric not in ours:
                    metric.process(data_batch, samples)
            if ours:
                self._process(ours, samples)
        except BaseException:
            self.stop()
            raise
        seconds = time.perf_counter() - start
        self.waited = Waited(self.waited.seconds + seconds, self.waited.batches + 1)

    def _process(self, metrics: Sequence[ImageMetric], samples: Sequence[dict]) -> None:
        """Score images by metrics of this package, here or in other processes."""
        tasks = {getattr(metric, 'task', None) for metric in metrics}
        if self.workers and self._pool is None:
            self._pool = ScoreWorkers(metrics, self.workers)
        for sample in samples:
            packed = host_sample(sample, tasks)
            if self._pool is None:
                for metric in metrics:
                    metric.process(None, [packed])
                continue
            with naming_image(sample):
                for metric in metrics:
                    metric.admit(sample)
            self._pool.submit(packed)

    def evaluate(self, size: int) -> dict:
        """The scores, when all images have been scored."""
        try:
            if self._pool is not None:
                self._pool.finish()
        finally:
            self.stop()
        return super().evaluate(size)

    def stop(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.cancel()
            self._pool = None
