"""The graph of an exported model in OpenVINO, on the CPU.

OpenVINO may compute in a lower precision than that of the file, where the processor has one. So the
precision is asked for, and read back from the compiled model. Nothing is cached on disk: compiling
takes seconds, and the compiled model is always that of the file.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .engine import Shape, cannot_load

_HINTS = dict(fp32='f32', bf16='bf16', int8='f32')  # of what is not quantised


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise ImportError(
            'the engine openvino needs OpenVINO: pip install openvino, or "oneformer[openvino]"'
        ) from error
    return openvino


class OpenVinoEngine:
    """An ``engine.Engine``.

    Args:
        path: File of the graph.
        precision: One of ``engine.PRECISIONS``.
        providers: None; these are onnxruntime's.
        threads: Threads of the network; None for OpenVINO's default, all cores.

    Raises:
        DescriptionError: If OpenVINO refuses the graph.
        ImportError: Without OpenVINO.
        ValueError: For ``'bf16'`` where the processor does not have it, and for providers.
    """

    def __init__(
        self,
        path: Path,
        precision: str = 'fp32',
        providers: Sequence[Any] | None = None,
        threads: int | None = None,
    ) -> None:
        if providers is not None:
            raise ValueError(
                f"providers {list(providers)} are onnxruntime's, and the engine openvino runs on "
                "the CPU: leave them out, or choose engine 'onnxruntime'"
            )
        openvino = _openvino()
        core = openvino.Core()
        version = openvino.get_version().split('-')[0]
        processor = str(core.get_property('CPU', 'FULL_DEVICE_NAME')).strip()
        try:
            model = core.read_model(str(path))
            compiled = core.compile_model(model, 'CPU', _settings(precision, threads))
        except Exception as error:  # OpenVINO raises RuntimeError for everything
            raise cannot_load(path, f'openvino {version}', error) from error
        _check_precision(compiled, precision, processor)
        self.label = f'openvino {version} on the CPU ({processor}), {precision}'
        self.inputs, self.outputs = _shapes(model.inputs), _shapes(model.outputs)
        self._request = compiled.create_infer_request()
        self._one_at_a_time = threading.Lock()

    def run(self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> list[np.ndarray]:
        """Outputs by their names."""
        with self._one_at_a_time:  # a request has one set of tensors
            self._request.infer(dict(inputs), share_inputs=True)
            return [self._request.get_tensor(name).data.copy() for name in outputs]


def _settings(precision: str, threads: int | None) -> dict[str, Any]:
    settings: dict[str, Any] = dict(
        INFERENCE_PRECISION_HINT=_HINTS[precision],
        EXECUTION_MODE_HINT='PERFORMANCE' if precision == 'bf16' else 'ACCURACY',
        PERFORMANCE_HINT='LATENCY',
        ENABLE_CPU_PINNING=False,  # two processes would be put on the same cores
        CACHE_DIR='',
    )
    if threads is not None:
        settings['INFERENCE_NUM_THREADS'] = threads
    return settings


def _check_precision(compiled: Any, precision: str, processor: str) -> None:
    """Raise ValueError if the compiled model computes in another precision than asked for."""
    found = compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name()
    if found == _HINTS[precision]:
        return
    if precision == 'bf16':
        raise ValueError(
            f'precision is bf16, but this processor ({processor}) has no bfloat16, and OpenVINO '
            f'would compute in {found}: choose fp32'
        )
    raise ValueError(
        f'OpenVINO computes in {found} on this processor ({processor}) although '
        f"{_HINTS[precision]} was asked for: choose engine 'onnxruntime', and please report it"
    )


def _shapes(ports: Sequence[Any]) -> dict[str, Shape]:
    found = {}
    for port in ports:
        shape = port.get_partial_shape()
        sides = () if shape.rank.is_dynamic else tuple(shape)
        found[port.get_any_name()] = tuple(
            side.get_length() if side.is_static else None for side in sides
        )
    return found
