"""What runs a graph: common words of the engines ``onnxruntime`` and ``openvino``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .description import DescriptionError

ENGINES = ('onnxruntime', 'openvino')
# number formats: of the file, computed in bfloat16, of the quantised file beside
PRECISIONS = ('fp32', 'bf16', 'int8')
AGAIN = 'export the model again'

Shape = tuple[int | None, ...]  # None for a side that is open


class Engine(Protocol):
    """A graph that is loaded.

    Attributes:
        label: Name, version, device and number format, for people.
        inputs: Shapes by name.
        outputs: Shapes by name.
    """

    label: str
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]

    def run(self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> list[np.ndarray]:
        """Outputs by their names; whatever the engine raises is for the caller to explain.

        It may be called by several threads at once.
        """


def make_engine(
    name: str, path: Path, precision: str, providers: Any, threads: int | None
) -> Engine:
    """Load a graph.

    Args:
        name: One of ``ENGINES``.
        path: File of the graph.
        precision: One of ``PRECISIONS``; of ``'int8'`` the path is that of the quantised file.
        providers: See ``onnxruntime_engine``; None but for onnxruntime.
        threads: Threads of the network; None for all cores.

    Raises:
        DescriptionError: If the graph cannot be loaded.
        ImportError: Without the engine's package.
        ValueError: For what the engine or this machine does not have.
    """
    if name == 'onnxruntime':
        from .onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(path, precision, providers, threads)
    from .openvino_engine import OpenVinoEngine

    return OpenVinoEngine(path, precision, providers, threads)


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError for a word that is none of the choices."""
    if value not in choices:
        raise ValueError(f'{option} is {value!r}: choose one of {", ".join(choices)}')


def cannot_load(path: Path, label: str, error: Exception) -> DescriptionError:
    """The error for a graph that an engine refuses."""
    return DescriptionError(
        f'{path} cannot be loaded by {label} ({error}): install a newer {label.split()[0]}, or '
        f'{AGAIN}'
    )
