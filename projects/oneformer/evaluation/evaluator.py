"""An evaluator that lets other processes score, and says how long the run waits for that."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR
from torch import Tensor

from ..host.transfers import fetch
from .data_sample import naming_image
from .mask_codes import encode_masks
from .score_workers import ScoreWorkers, is_apart


def host_sample(sample: dict) -> dict:
    """A sample for another process: arrays in place of tensors, and codes in place of masks.

    Args:
        sample: A data sample as a dict, which is not changed.
    """
    packed = {key: dict(part) if isinstance(part, dict) else part for key, part in sample.items()}
    instances = packed.get('pred_instances') or {}
    masks = instances.get('masks')
    if isinstance(masks, Tensor):
        size = tuple(sample['ori_shape'][:2])
        if masks.shape == (len(instances.get('labels', ())), *size):  # else the metric complains
            instances['codes'] = encode_masks(instances.pop('masks'))
    places = [
        (part, key)
        for part in packed.values()
        if isinstance(part, dict)
        for key, value in part.items()
        if isinstance(value, Tensor)
    ]
    tensors = [part[key] for part, key in places]
    for (part, key), tensor in zip(
        places, fetch(*(t.int() if t.dtype == torch.int64 else t for t in tensors))
    ):
        part[key] = tensor.numpy()
    return packed


class Waited(NamedTuple):
    """How long a run waited for scoring.

    Attributes:
        seconds: In all.
        batches: The batches of these.
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
        apart = [metric for metric in self.metrics if self.workers and is_apart(metric)]
        samples = [s if isinstance(s, dict) else s.to_dict() for s in data_samples]
        try:
            for metric in self.metrics:
                if metric not in apart:
                    metric.process(data_batch, samples)
            if apart:
                self._hand_over(apart, samples)
        except BaseException:
            self.stop()
            raise
        seconds = time.perf_counter() - start
        self.waited = Waited(self.waited.seconds + seconds, self.waited.batches + 1)

    def _hand_over(self, apart: Sequence, samples: Sequence[dict]) -> None:
        if self._pool is None:
            self._pool = ScoreWorkers(apart, self.workers)
        for sample in samples:
            with naming_image(sample):
                for metric in apart:
                    metric.admit(sample)
            self._pool.submit(host_sample(sample))

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
