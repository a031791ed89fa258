"""What the models are fed, and what they return.

Legend: B images, T tasks, Q queries, K classes, N targets, H x W the input.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from oneformer.tasks import Prompts

from ..scenes import draw_cells
from .shapes import CLASSES

NUM_TASKS = dict(one_task=1, three_tasks=3)  # of a prediction, by row of the benchmark


class Batch(NamedTuple):
    """Images with targets; maps hold k for target k - 1."""

    images: Tensor  # B 3 H W
    maps: Tensor  # B H W
    labels: list[Tensor]
    task: str = 'panoptic'
    classes: Sequence[str] = CLASSES

    @property
    def texts(self) -> list[list[str]]:
        """For each image one prompt per target."""
        return [Prompts().targets(labels.tolist(), self.classes) for labels in self.labels]


def draw_batch(
    size: int, targets: Sequence[int], device: torch.device, classes: Sequence[str] = CLASSES
) -> Batch:
    """Noise, and for each image as many cells that tile it; none are lost.

    Args:
        size: Height and width.
        targets: Number for each image, may be zero.
        device: Device to put it on.
        classes: Names of the classes.
    """
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(2)
    maps = [
        draw_cells(rng, size, size, count) if count else np.zeros((size, size)) for count in targets
    ]
    # ours takes the smallest integers, as its data pipeline makes them
    maps = torch.from_numpy(np.stack(maps).astype(np.int16))
    labels = [torch.from_numpy(rng.integers(len(classes), size=count)) for count in targets]
    images = torch.randn(len(targets), 3, size, size, generator=generator)
    labels = [label.to(device) for label in labels]
    return Batch(images.to(device), maps.to(device), labels, classes=classes)


def target_masks(batch: Batch) -> list[Tensor]:
    """For each image bool masks (N, H, W), one per target."""
    return [
        segment_map == torch.arange(1, len(labels) + 1, device=labels.device)[:, None, None]
        for segment_map, labels in zip(batch.maps, batch.labels)
    ]


class Outputs(NamedTuple):
    """Raw logits."""

    scores: Tensor  # T B Q K+1
    masks: Tensor  # T B Q H/4 W/4
