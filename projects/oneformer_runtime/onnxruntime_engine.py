"""The graph of an exported model in onnxruntime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .engine import Shape, cannot_load


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


class OnnxRuntimeEngine:
    """An ``engine.Engine``.

    Args:
        path: File of the graph.
        precision: ``'fp32'`` or ``'int8'``, as the file is.
        providers: Names of execution providers, or pairs of a name and options; None for the CPU.
        threads: Threads of an operator; None for onnxruntime's default, all cores.

    Raises:
        DescriptionError: If onnxruntime refuses the graph.
        ImportError: Without onnxruntime.
        ValueError: For a provider that is not there, and another precision.
    """

    def __init__(
        self,
        path: Path,
        precision: str = 'fp32',
        providers: Sequence[Any] | None = None,
        threads: int | None = None,
    ) -> None:
        if precision == 'bf16':
            raise ValueError(
                'precision is bf16, but onnxruntime computes in the number format of the file: '
                "choose engine 'openvino', or fp32"
            )
        runtime = _onnxruntime()
        providers = ['CPUExecutionProvider'] if providers is None else list(providers)
        check_providers(providers, runtime.get_available_providers())
        names = [name if isinstance(name, str) else name[0] for name in providers]
        self.label = f'onnxruntime {runtime.__version__}'
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors; warnings are of graph optimisations
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime has a class of its own for each kind
            raise cannot_load(path, self.label, error) from error
        if missing := set(names) - set(self.session.get_providers()):
            raise ValueError(
                f'the provider {min(missing)!r} of onnxruntime does not start here: install what '
                'it needs (its own message is above), or leave it out'
            )
        where = 'the CPU' if names == ['CPUExecutionProvider'] else ', '.join(names)
        self.label += f' on {where}, {precision}'
        self.inputs = _shapes(self.session.get_inputs())
        self.outputs = _shapes(self.session.get_outputs())

    def run(self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> list[np.ndarray]:
        """Outputs by their names."""
        return self.session.run(list(outputs), dict(inputs))


def _shapes(values: Sequence[Any]) -> dict[str, Shape]:
    return {
        value.name: tuple(side if isinstance(side, int) else None for side in value.shape)
        for value in values
    }
