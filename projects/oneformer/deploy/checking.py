"""Whether a graph computes what the network does, at sizes that it was not traced with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oneformer_runtime.description import DescriptionError
from oneformer_runtime.network import INPUTS, OUTPUTS
from oneformer_runtime.onnxruntime_engine import OnnxRuntimeEngine
from oneformer_runtime.scores import semantic_labels

# largest differences of class and mask logits
TOLERANCES = 1e-4, 1e-3
# see _sensitivity; the most is a share of the largest logit
_CHANGES, _MARGIN, _MOST = 3, 3.0, 0.02


class ExportError(ValueError):
    """A model that cannot be exported, or a graph that is not its network."""


@dataclass(frozen=True)
class Trial:
    """How the outputs of a graph and of its network differ for a batch.

    Attributes:
        name: What the batch shows.
        shape: (B, T, H, W).
        class_logits: Largest difference.
        mask_logits: Largest difference.
        signs: Share of the pixels of masks on the same side of 0.
        labels: Share of the pixels with the same semantic label.
        allowed: Largest differences that are allowed, of class and mask logits.
    """

    name: str
    shape: tuple[int, int, int, int]
    class_logits: float
    mask_logits: float
    signs: float
    labels: float
    allowed: tuple[float, float] = TOLERANCES

    @property
    def agrees(self) -> bool:
        """Whether the differences are allowed; what is not a number is not."""
        return self.class_logits <= self.allowed[0] and self.mask_logits <= self.allowed[1]

    def __str__(self) -> str:
        B, T, H, W = self.shape
        return (
            f'{self.name}, batch {B}, {T} tasks, {H}x{W}: class logits {self.class_logits:.1g}, '
            f'mask logits {self.mask_logits:.1g}, labels {100 * self.labels:.4g} % equal'
        )


def textured_image(height: int, width: int, seed: int) -> Tensor:
    """RGB of blobs of several sizes and of noise, of shape (3, height, width), 0 to 255.

    Of plain noise a network's features are nearly constant, and differences of them are rounding.
    """
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(3, height, width)
    for step in (64, 16, 4, 1):
        grid = torch.randn(1, 3, -(-height // step) + 1, -(-width // step) + 1, generator=generator)
        image += F.interpolate(grid, (height, width), mode='bicubic')[0] * (step + 4) ** 0.5
    low, high = image.amin(), image.amax()
    return ((image - low) / (high - low) * 255).round()


def trial_inputs(
    divisor: int, size: tuple[int, int] | None
) -> list[tuple[str, Tensor, list[list[int]]]]:
    """Batches for a check: another size each, one to three images, one to three tasks."""
    sizes = [size] * 3
    if size is None:
        least = max(1, -(-96 // divisor))
        # wide, high and large: none is the size of tracing
        sides = (least + 1, least + 5), (least + 6, least), (4 * least, 4 * least - 1)
        sizes = [(rows * divisor, columns * divisor) for rows, columns in sides]
    tasks: list[list[int]] = [[1], [2, 0], [0, 1, 2]]
    batches = []
    for count, (height, width), words in zip((2, 1, 1) if size else (2, 3, 1), sizes, tasks):
        images = [textured_image(height, width, seed=10 * len(batches) + k) for k in range(count)]
        batches.append(('generated images', torch.stack(images), [words] * count))
    return batches


def compare(
    network: nn.Module, path: Path, batches: Sequence[tuple[str, Tensor, list[list[int]]]]
) -> list[Trial]:
    """Run a graph by onnxruntime and its network by torch.

    Args:
        network: An ``ExportedNetwork``.
        path: File of the graph.
        batches: Names, images (B, 3, H, W), RGB of 0 to 255, and task numbers (B, T).

    Raises:
        ExportError: If onnxruntime cannot run the graph.
    """
    try:
        engine = OnnxRuntimeEngine(path)
    except DescriptionError as error:
        raise ExportError(str(error)) from error
    trials = []
    for name, images, tasks in batches:
        numbers = torch.tensor(tasks)
        with torch.inference_mode():
            expected = [x.numpy() for x in network(images, numbers)]
        inputs = dict(zip(INPUTS, (np.ascontiguousarray(images), numbers.numpy())))
        try:
            found = engine.run(inputs, OUTPUTS)
        except Exception as error:
            raise ExportError(
                f'{engine.label} fails on images of the shape '
                f'{tuple(images.shape)} and {len(tasks[0])} tasks: {error}'
            ) from error
        trial = _trial(name, (*numbers.shape, *images.shape[2:]), found, expected)
        if not trial.agrees:
            trial = replace(trial, allowed=_sensitivity(network, images, numbers, expected))
        trials.append(trial)
    return trials


def _sensitivity(
    network: nn.Module, images: Tensor, numbers: Tensor, expected: Sequence[np.ndarray]
) -> tuple[float, float]:
    """Differences that rounding makes: what changes of the image by some 1e-6 do to the outputs.

    A mask logit near 0 may allow a query to look at a pixel, or not; with many queries, tasks and
    pixels some always are, and what a query sees differs from one way to compute it to another.
    """
    allowed = list(TOLERANCES)
    for seed in range(_CHANGES):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(images.shape, generator=generator)
        with torch.inference_mode():
            changed = network(images * (1 + 1e-6 * noise), numbers)
        for i, (outputs, plain) in enumerate(zip(changed, expected)):
            difference = float(np.abs(outputs.numpy() - plain).max(initial=0))
            most = _MOST * float(np.abs(plain).max(initial=0))
            allowed[i] = max(allowed[i], min(most, _MARGIN * difference))
    return allowed[0], allowed[1]


def _trial(
    name: str,
    shape: tuple[int, int, int, int],
    found: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
) -> Trial:
    if [x.shape for x in found] != [x.shape for x in expected]:
        raise ExportError(
            f'outputs have the shapes {[x.shape for x in found]}, not {[x.shape for x in expected]}'
        )
    classes, masks = (
        float(np.abs(ours - theirs).max(initial=0)) for ours, theirs in zip(found, expected)
    )
    labels = [semantic_labels(*outputs) for outputs in (found, expected)]
    return Trial(
        name,
        shape,
        classes,
        masks,
        float(((found[1] >= 0) == (expected[1] >= 0)).mean()),
        float((labels[0] == labels[1]).mean()),
    )
