"""The graph of an exported model in onnxruntime."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .description import TASKS, DescriptionError, ModelDescription
from .model_json import file_hash

INPUTS, OUTPUTS = ('image', 'tasks'), ('class_logits', 'mask_logits')
_AGAIN = 'export the model again'


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            'running an exported model needs onnxruntime: pip install onnxruntime, or '
            '"oneformer[runtime]"'
        ) from error
    return onnxruntime


def check_providers(providers: Sequence[Any], available: Sequence[str]) -> None:
    """Raise ValueError for an execution provider that this onnxruntime does not have."""
    for provider in providers:
        name = provider if isinstance(provider, str) else provider[0]
        if name not in available:
            raise ValueError(
                f'onnxruntime has no provider {name!r}: install the package of onnxruntime that '
                f'has it, or choose among {", ".join(available)}'
            )


class Network:
    """Class and mask logits of images and tasks.

    Args:
        folder: Folder of the exported model.
        description: Its ``model.json``.
        providers: Names of execution providers of onnxruntime, or pairs of a name and options. The
            default is the CPU.
        threads: Threads of an operator; the default is onnxruntime's, all cores.

    Raises:
        FileNotFoundError: If the graph is not in the folder.
        DescriptionError: If the graph is not that of the description, or cannot be loaded.
        ImportError: Without onnxruntime.
        ValueError: For a provider that is not there, and threads below 1.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        description: ModelDescription,
        providers: Sequence[Any] | None = None,
        threads: int | None = None,
    ) -> None:
        if threads is not None and (isinstance(threads, bool) or threads < 1):
            raise ValueError(f'threads is {threads}, it has to be a whole number of at least 1')
        self.path = Path(folder) / description.graph
        self.description = description
        if not self.path.is_file():
            raise FileNotFoundError(
                f'{self.path}, which model.json names, does not exist: keep both in one folder, '
                f'or {_AGAIN}'
            )
        if description.sha256 and file_hash(self.path) != description.sha256:
            raise DescriptionError(
                f'{self.path} is not the file that model.json was written for, or is damaged: '
                f'copy both again, or {_AGAIN}'
            )
        runtime = _onnxruntime()
        providers = ['CPUExecutionProvider'] if providers is None else list(providers)
        check_providers(providers, runtime.get_available_providers())
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors; warnings are of graph optimisations
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = runtime.InferenceSession(str(self.path), options, providers=providers)
        except Exception as error:  # onnxruntime has a class of its own for each kind
            raise DescriptionError(
                f'{self.path} cannot be loaded by onnxruntime {runtime.__version__} ({error}): '
                f'install a newer onnxruntime, or {_AGAIN}'
            ) from error
        names = {name if isinstance(name, str) else name[0] for name in providers}
        if missing := names - set(self.session.get_providers()):
            raise ValueError(
                f'the provider {min(missing)!r} of onnxruntime does not start here: install what '
                'it needs (its own message is above), or leave it out'
            )
        self._check_graph()

    def _check_graph(self) -> None:
        """Raise DescriptionError for a graph of other inputs, outputs or sizes."""
        for kind, wanted, found in (
            ('inputs', INPUTS, {value.name: value for value in self.session.get_inputs()}),
            ('outputs', OUTPUTS, {value.name: value for value in self.session.get_outputs()}),
        ):
            if set(found) != set(wanted):
                raise DescriptionError(
                    f'{self.path} has the {kind} {sorted(found)}, not {sorted(wanted)}: {_AGAIN}'
                )
            if kind == 'inputs':
                self._check_size(found['image'].shape[2:])
            else:
                self._check_classes(found['class_logits'].shape[-1])

    def _check_size(self, sides: Sequence[Any]) -> None:
        fixed = any(isinstance(side, int) for side in sides)
        size = tuple(sides) if fixed else None
        if size != self.description.image.size:
            raise DescriptionError(
                f'{self.path} takes images of {size or "any"} size, but image.size of model.json '
                f'is {self.description.image.size}: {_AGAIN}'
            )

    def _check_classes(self, number: Any) -> None:
        K = len(self.description.classes)
        if isinstance(number, int) and number != K + 1:
            raise DescriptionError(
                f'{self.path} has {number} class logits, but model.json has {K} classes, which '
                f'needs {K + 1}: {_AGAIN}'
            )

    def __call__(self, images: np.ndarray, tasks: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Logits of a batch.

        Args:
            images: RGB of 0 to 255, float32, of shape (B, 3, H, W), sides as the graph needs.
            tasks: The T task words that condition the queries of every image.

        Returns:
            Class logits of shape (B, T, Q, K + 1) and mask logits (B, T, Q, H / 4, W / 4), float32.

        Raises:
            ValueError: For a word that is not a task, and if the graph gives other shapes, or
                numbers that are not finite.
        """
        if unknown := [task for task in tasks if task not in TASKS]:
            raise ValueError(f'unknown task {unknown[0]!r}: choose one of {", ".join(TASKS)}')
        B, _, H, W = images.shape
        numbers = np.array([[TASKS.index(task) for task in tasks]] * B, np.int64)
        inputs = dict(image=np.ascontiguousarray(images, np.float32), tasks=numbers)
        try:
            scores, masks = self.session.run(list(OUTPUTS), inputs)
        except Exception as error:  # onnxruntime has a class of its own for each kind
            raise ValueError(
                f'{self.path} cannot be run on images of the shape {images.shape} and '
                f'{len(tasks)} tasks ({error}): if batch or tasks are fixed in it, {_AGAIN}; if '
                'memory is short, predict with batch=1 or export for smaller images'
            ) from error
        self._check_classes(scores.shape[-1])
        Q = scores.shape[2] if scores.ndim == 4 else 0
        shapes = (B, len(tasks), Q, scores.shape[-1]), (B, len(tasks), Q, H // 4, W // 4)
        if (scores.shape, masks.shape) != shapes:
            raise ValueError(
                f'{self.path} gives logits of the shapes {scores.shape} and {masks.shape}, not '
                f'{shapes[0]} and {shapes[1]}: {_AGAIN}'
            )
        for values, name in zip((scores, masks), OUTPUTS):
            if values.size and not np.isfinite([values.min(), values.max()]).all():
                raise ValueError(
                    f'{self.path} gives {name} that are not finite: a lower precision of the '
                    f'provider overflows, or the weights are damaged; {_AGAIN}'
                )
        return scores.astype(np.float32, copy=False), masks.astype(np.float32, copy=False)
