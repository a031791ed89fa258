"""A quantised graph beside the graph of an exported model, kept only with its scores.

Weights of products of matrices are stored in 8 bits, and what they are multiplied with is rounded
to 8 bits as it comes, by onnxruntime's dynamic quantisation. Weights take 7 of the bits: with 8
some processors overflow, and scores would hold for the processor that computed them.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from terminaltables import AsciiTable

from oneformer_runtime.description import TASKS, VARIANTS, ModelDescription, Variant
from oneformer_runtime.model_json import read_description, write_description
from oneformer_runtime.network import Network

from ..inference.exported_model import ExportedModel
from .checking import ExportError, trial_inputs
from .labelled_set import LabelledSet, Scores

MAX_DROP = 1.0  # points of PQ, AP and mIoU
_CLEARLY, _LOST = 5.0, 0.1  # a class that scores this is found, and with this share of it lost


def quantise(graph: Path, target: Path) -> None:
    """Write the quantised graph of a graph.

    Raises:
        ExportError: If onnxruntime cannot, and for a graph whose weights are in a file beside.
    """
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if Path(f'{graph}.data').is_file():
        raise ExportError(f'{graph} has its weights in a file beside, which int8 does not take')
    advice = logging.getLogger()
    level = advice.level
    advice.setLevel(logging.ERROR)  # to optimise the graph before, which runtimes do
    try:
        quantize_dynamic(
            graph,
            target,
            op_types_to_quantize=['MatMul', 'Gemm'],
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )
        _leave_out_shapes(target)
    except Exception as error:  # of protobuf, onnx and onnxruntime
        raise ExportError(
            f'onnxruntime {onnxruntime.__version__} cannot quantise {graph} ({error})'
        ) from error
    finally:
        advice.setLevel(level)


def _leave_out_shapes(path: Path) -> None:
    """Remove what onnx says of shapes inside a graph: those of parts of a split are wrong.

    onnxruntime would give them memory of that size. It finds out itself.
    """
    import onnx

    graph = onnx.load(path)
    del graph.graph.value_info[:]
    onnx.save(graph, path)


def _check_that_it_runs(folder: Path, description: ModelDescription) -> None:
    """Run the quantised graph of a folder at other sizes, batches and tasks than a set may have.

    Raises:
        ExportError: If it does not run, or its numbers are not finite.
    """
    network = Network(folder, description, precision='int8')
    settings = description.image
    for _, images, tasks in trial_inputs(settings.divisor, settings.size):
        try:
            network(images.numpy(), [TASKS[number] for number in tasks[0]])
        except ValueError as error:
            raise ExportError(f'int8 was not kept: {error}') from error


def faults_of(
    totals: dict[str, dict[str, Any]],
    per_class: dict[str, dict[str, dict[str, Any]]],
    max_drop: float,
) -> list[str]:
    """Why a quantised model is not good enough; empty if it is.

    Args:
        totals: Numbers of ``'fp32'`` and ``'int8'`` by the name of a metric.
        per_class: The same by task and class.
        max_drop: Points that a metric may lose.
    """
    faults = []
    for name, pair in totals.items():
        if pair['fp32'] is None:
            faults.append(f'{name} is undefined: the labelled set has no ground truth for it')
        elif pair['int8'] is None or pair['fp32'] - pair['int8'] > max_drop:
            faults.append(
                f'{name} falls from {pair["fp32"]} to {pair["int8"]}, by more than {max_drop:g}'
            )
    for task, classes in per_class.items():
        for name, pair in classes.items():
            before, after = pair['fp32'] or 0, pair['int8'] or 0
            if before >= _CLEARLY and after < _LOST * before:
                faults.append(f'the class {name!r} is lost ({task}: {before} before, {after} now)')
    return faults


def add_int8(
    folder: str | os.PathLike,
    labelled: LabelledSet,
    max_drop: float = MAX_DROP,
) -> Variant:
    """Write ``model_int8.onnx`` into the folder of an exported model, once its scores allow it.

    Both graphs predict a labelled set by the runtime. The figures of both go into ``model.json``.

    Args:
        folder: Folder of the exported model, which stays as it is if the scores are refused.
        labelled: The labelled set.
        max_drop: Points of PQ, AP and mIoU, in percent, that may be lost.

    Returns:
        What ``model.json`` says of it.

    Raises:
        ExportError: A ValueError: if a metric loses more, a class is lost, or the graph cannot be
            quantised.
    """
    folder = Path(folder)
    description = read_description(folder)
    with _beside(folder, description) as (trial, described):
        quantise(folder / description.graph, trial / described.variants['int8'].graph)
        write_description(described, trial)
        _check_that_it_runs(trial, read_description(trial))
        found = {}
        for precision in ('fp32', 'int8'):
            print_log(
                f'scoring {precision} on {labelled.size} images of {labelled.name}',
                logger='current',
            )
            found[precision] = labelled.score(ExportedModel(trial, precision=precision))
        scores = _side_by_side(found)
        print_log(_table(scores['totals']), logger='current')
        if faults := faults_of(scores['totals'], scores['per_class'], max_drop):
            raise ExportError(
                f'int8 was not kept: {"; ".join(faults[:5])}'
                + (f'; and {len(faults) - 5} more' if len(faults) > 5 else '')
                + f'. {folder} is as it was'
            )
        scores = dict(config=labelled.name, images=labelled.size, max_drop=max_drop, **scores)
        variant = replace(described.variants['int8'], scores=scores)
        os.replace(trial / variant.graph, folder / variant.graph)
        variants = {**description.variants, 'int8': variant}
        write_description(replace(description, variants=variants), folder)
    return variant


@contextmanager
def _beside(folder: Path, description: ModelDescription) -> Iterator[tuple[Path, ModelDescription]]:
    """A folder beside with the same graph, and its description with a quantised one."""
    folder = folder.resolve()
    trial = folder.with_name(f'.{folder.name}.{os.getpid()}.int8')
    trial.mkdir()
    try:
        (trial / description.graph).symlink_to(folder / description.graph)
        variants = dict(int8=Variant(VARIANTS['int8']))
        yield trial, replace(description, variants=variants)
    finally:
        shutil.rmtree(trial, ignore_errors=True)


def _side_by_side(found: dict[str, tuple[Scores, dict[str, dict[str, Scores]]]]) -> dict[str, Any]:
    """Numbers of each precision under the name of what they measure."""
    totals = {
        name: {precision: scores[0][name] for precision, scores in found.items()}
        for name in found['fp32'][0]
    }
    per_class: dict[str, dict] = {}
    for precision, (_, tasks) in found.items():
        for task, classes in tasks.items():
            for name, value in classes.items():
                pair = per_class.setdefault(task, {}).setdefault(name, dict(fp32=None, int8=None))
                pair[precision] = value
    return dict(totals=totals, per_class=per_class)


def _table(totals: dict[str, dict[str, Any]]) -> str:
    rows = [[name, str(pair['fp32']), str(pair['int8'])] for name, pair in totals.items()]
    return f'scores:\n{AsciiTable([["", "fp32", "int8"], *rows]).table}'


def read_labelled_config(path: str, options: dict | None = None) -> Config:
    """The config of a labelled set.

    Args:
        path: Path of the config.
        options: Overrides by dotted keys.

    Raises:
        ValueError: If it is broken, or has no test set or metrics.
    """
    try:
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(options or {})
    except Exception as error:  # a config is code
        raise ValueError(
            f'config {path} cannot be read ({type(error).__name__}: {error})'
        ) from error
    for key in ('model', 'test_dataloader', 'test_evaluator'):
        if not cfg.get(key):
            raise ValueError(f'config {path} has no {key}, which the scores of int8 need')
    return cfg
