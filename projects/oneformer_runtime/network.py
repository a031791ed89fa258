"""The graph of an exported model: its file, inputs, outputs and numbers are checked."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .description import TASKS, DescriptionError, ModelDescription
from .engine import AGAIN, ENGINES, PRECISIONS, Shape, check_choice, make_engine
from .model_json import file_hash

INPUTS, OUTPUTS = ('image', 'tasks'), ('class_logits', 'mask_logits')


def _file_of(folder: Path, description: ModelDescription, precision: str) -> tuple[Path, str]:
    """Path and hash of the graph of a precision."""
    if precision != 'int8':
        return folder / description.graph, description.sha256
    variant = description.variants.get('int8')
    if variant is None:
        raise ValueError(
            f'precision is int8, but {folder} has no quantised model: oneformer export {folder} '
            '--int8 writes one, if its scores allow it'
        )
    return folder / variant.graph, variant.sha256


class Network:
    """Class and mask logits of images and tasks.

    Args:
        folder: Folder of the exported model.
        description: Its ``model.json``.
        providers: Names of execution providers of onnxruntime, or pairs of a name and options. The
            default is the CPU.
        threads: Threads of the network; the default is the engine's, all cores.
        engine: ``'onnxruntime'`` or ``'openvino'``.
        precision: ``'fp32'``, ``'bf16'`` (of openvino, on a processor that has it), or ``'int8'``,
            which is the quantised file of the folder.

    Attributes:
        engine: What runs the graph; its ``label`` says what that is.

    Raises:
        FileNotFoundError: If the graph is not in the folder.
        DescriptionError: If the graph is not that of the description, or cannot be loaded.
        ImportError: Without the engine's package.
        ValueError: For a precision that the folder, the engine or the processor does not have, a
            provider that is not there, and threads below 1.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        description: ModelDescription,
        providers: Sequence[Any] | None = None,
        threads: int | None = None,
        engine: str = 'onnxruntime',
        precision: str = 'fp32',
    ) -> None:
        if threads is not None and (isinstance(threads, bool) or threads < 1):
            raise ValueError(f'threads is {threads}, it has to be a whole number of at least 1')
        check_choice('engine', engine, ENGINES)
        check_choice('precision', precision, PRECISIONS)
        self.description = description
        self.path, sha256 = _file_of(Path(folder), description, precision)
        if not self.path.is_file():
            raise FileNotFoundError(
                f'{self.path}, which model.json names, does not exist: keep both in one folder, '
                f'or {AGAIN}'
            )
        if sha256 and file_hash(self.path) != sha256:
            raise DescriptionError(
                f'{self.path} is not the file that model.json was written for, or is damaged: '
                f'copy both again, or {AGAIN}'
            )
        self.engine = make_engine(engine, self.path, precision, providers, threads)
        self._check_graph()

    def _check_graph(self) -> None:
        """Raise DescriptionError for a graph of other inputs, outputs or sizes."""
        for kind, wanted, found in (
            ('inputs', INPUTS, self.engine.inputs),
            ('outputs', OUTPUTS, self.engine.outputs),
        ):
            if set(found) != set(wanted):
                raise DescriptionError(
                    f'{self.path} has the {kind} {sorted(found)}, not {sorted(wanted)}: {AGAIN}'
                )
        self._check_size(self.engine.inputs['image'][2:])
        self._check_classes(*self.engine.outputs['class_logits'][-1:])

    def _check_size(self, sides: Shape) -> None:
        size = sides if any(side is not None for side in sides) else None
        if size != self.description.image.size:
            raise DescriptionError(
                f'{self.path} takes images of {size or "any"} size, but image.size of model.json '
                f'is {self.description.image.size}: {AGAIN}'
            )

    def _check_classes(self, number: int | None = None) -> None:
        K = len(self.description.classes)
        if number is not None and number != K + 1:
            raise DescriptionError(
                f'{self.path} has {number} class logits, but model.json has {K} classes, which '
                f'needs {K + 1}: {AGAIN}'
            )

    def __call__(self, images: np.ndarray, tasks: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Logits of a batch.

        Args:
            images: RGB of 0 to 255, float32, of shape (B, 3, H, W), sides as the graph needs.
            tasks: The T task words that condition the queries of every image.

        Returns:
            Class logits of shape (B, T, Q, K + 1) and mask logits (B, T, Q, H / 4, W / 4), float32.

        Raises:
            ValueError: For a word that is not a task, sides that are not multiples of the divisor,
                and if the graph gives other shapes, or numbers that are not finite.
        """
        if unknown := [task for task in tasks if task not in TASKS]:
            raise ValueError(f'unknown task {unknown[0]!r}: choose one of {", ".join(TASKS)}')
        B, _, H, W = images.shape
        if H % self.description.image.divisor or W % self.description.image.divisor:
            raise ValueError(
                f'images have {H} x {W} pixels, which {self.description.image.divisor} does not '
                'divide: pad them, see oneformer_runtime.preparing'
            )
        numbers = np.array([[TASKS.index(task) for task in tasks]] * B, np.int64)
        inputs = dict(image=np.ascontiguousarray(images, np.float32), tasks=numbers)
        try:
            scores, masks = self.engine.run(inputs, OUTPUTS)
        except Exception as error:  # engines have classes of their own for each kind
            raise ValueError(
                f'{self.path} cannot be run on images of the shape {images.shape} and '
                f'{len(tasks)} tasks ({error}): if batch or tasks are fixed in it, {AGAIN}; if '
                'memory is short, predict with batch=1 or export for smaller images'
            ) from error
        self._check_outputs(scores, masks, (B, len(tasks)), (H // 4, W // 4))
        return scores.astype(np.float32, copy=False), masks.astype(np.float32, copy=False)

    def _check_outputs(
        self,
        scores: np.ndarray,
        masks: np.ndarray,
        batch: tuple[int, int],
        grid: tuple[int, int],
    ) -> None:
        """Raise ValueError for logits of other shapes, or that are not finite."""
        self._check_classes(scores.shape[-1])
        Q = scores.shape[2] if scores.ndim == 4 else 0
        shapes = (*batch, Q, scores.shape[-1]), (*batch, Q, *grid)
        if (scores.shape, masks.shape) != shapes:
            raise ValueError(
                f'{self.path} gives logits of the shapes {scores.shape} and {masks.shape}, not '
                f'{shapes[0]} and {shapes[1]}: {AGAIN}'
            )
        for values, name in zip((scores, masks), OUTPUTS):
            if values.size and not np.isfinite([values.min(), values.max()]).all():
                raise ValueError(
                    f'{self.path} gives {name} that are not finite: a lower precision of '
                    f'{self.engine.label} overflows, or the weights are damaged; {AGAIN}'
                )
