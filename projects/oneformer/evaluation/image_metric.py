"""Metrics whose work on an image needs nothing but the image, so that other processes can do it."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric

from .data_sample import naming_image


class ImageMetric(BaseMetric):
    """Base of the metrics.

    A subclass has ``score``, or a ``process`` of its own, which runs in the main process.
    """

    def admit(self, data_sample: dict) -> None:
        """Refuse an image by those before it, in the main process; nothing by default."""

    def score(self, data_sample: dict) -> Any:
        """What ``compute_metrics`` needs of an image, or None; maybe in another process.

        Args:
            data_sample: Sample with prediction and ground truth.

        Raises:
            ValueError: For what does not fit. It need not name the image.
        """
        raise NotImplementedError

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Append what ``score`` returns for each image."""
        for data_sample in data_samples:
            with naming_image(data_sample):
                self.admit(data_sample)
                self.results.append(self.score(data_sample))
