"""From a network to an ONNX graph of any size, by torch's exporter."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from oneformer_runtime.network import INPUTS, OUTPUTS

from ..kernels.portable import portable

OPSETS, DEFAULT_OPSET = (18, 19, 20, 21, 22), 18
_MOST_PIXELS = 16384  # of a side
_MOST_BYTES = 1.8e9  # of weights in the file of a graph, which may have 2 GiB


def _dimensions(divisor: int, size: tuple[int, int] | None) -> dict:
    """What is open in the graph, as torch's exporter takes it."""
    batch = torch.export.Dim('batch', min=1, max=1024)
    sides = {}
    if size is None:
        for axis, name in ((2, 'height'), (3, 'width')):
            sides[axis] = divisor * torch.export.Dim(
                f'{name}_{divisor}', min=2, max=_MOST_PIXELS // divisor
            )
    return dict(
        image={0: batch, **sides}, tasks={0: batch, 1: torch.export.Dim('tasks', min=1, max=64)}
    )


def _example(divisor: int, size: tuple[int, int] | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs to trace with: what is open must not be 0 or 1, nor two of them equal."""
    height, width = size or _example_sides(divisor)
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 255
    return image, torch.tensor([[0, 1, 2], [2, 1, 0]])


def _example_sides(divisor: int) -> tuple[int, int]:
    """Sides of which maps of stride 32 have several windows of 12 each way: one would be fixed."""
    count, more = max(3, -(-416 // divisor)), max(2, -(-192 // divisor))
    return count * divisor, (count + more) * divisor


@contextmanager
def _without_contexts() -> Iterator[None]:
    """No nested graphs for blocks of the code that switch autocast or gradients off."""
    with (
        torch.no_grad(),
        mock.patch.object(torch, 'autocast', lambda *args, **kwargs: nullcontext()),
    ):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress, which is its own developers' language."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'onnxscript', 'onnx_ir')]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _name_sizes(graph: Any, size: tuple[int, int] | None) -> None:
    """Names that people read for what is open, in place of the tracer's symbols.

    Shapes between inputs and outputs are left out: runtimes infer them again.
    """
    import onnx_ir

    for node in graph:
        for value in node.outputs:
            if value not in graph.outputs:
                value.shape = value.type = None
    height, width = size or ('height', 'width')
    fine = tuple(side // 4 for side in size) if size else ('height / 4', 'width / 4')
    (image, tasks), (classes, masks) = graph.inputs, graph.outputs
    Q, C = classes.shape[2:]
    image.shape = onnx_ir.Shape(['batch', 3, height, width])
    tasks.shape = onnx_ir.Shape(['batch', 'tasks'])
    classes.shape = onnx_ir.Shape(['batch', 'tasks', Q, C])
    masks.shape = onnx_ir.Shape(['batch', 'tasks', Q, *fine])


def write_graph(
    network: nn.Module,
    path: Path,
    divisor: int,
    size: tuple[int, int] | None = None,
    opset: int = DEFAULT_OPSET,
) -> None:
    """Trace a network and write its graph.

    All weights are in the one file, unless they are too large for it; then they are in a file
    beside, of the same name and the ending ``.data``.

    Args:
        network: An ``ExportedNetwork`` after ``replace_layers``, on a CPU.
        path: Path of the file, which is overwritten.
        divisor: What the sides of images are multiples of.
        size: (height, width) of all images, None for any size.
        opset: Version of ONNX's operators.
    """
    import onnxscript.optimizer
    from onnx_ir.passes import common

    example = _example(divisor, size)
    shapes = _dimensions(divisor, size)
    with _quiet(), _without_contexts(), portable():
        exported = torch.export.export(network, example, dynamic_shapes=shapes, strict=False)
        program = torch.onnx.export(
            exported,
            dynamo=True,
            opset_version=opset,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            optimize=False,
            verbose=False,
        )
        assert program is not None
        graph = program.model
        common.InlinePass()(graph)
        # what runtimes do not do themselves: fewer nodes to load, constants worked out
        onnxscript.optimizer.fold_constants(graph)
        common.RemoveUnusedNodesPass()(graph)
        common.RemoveUnusedFunctionsPass()(graph)
        common.RemoveUnusedOpsetsPass()(graph)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(graph)
        common.DeduplicateInitializersPass()(graph)
        common.CommonSubexpressionEliminationPass()(graph)
        common.ClearMetadataAndDocStringPass()(graph)
        _name_sizes(graph.graph, size)
        weights = sum(x.numel() * x.element_size() for x in network.state_dict().values())
        program.save(str(path), external_data=weights > _MOST_BYTES)
