"""From a trained model to a folder that ``oneformer_runtime`` and other runtimes take."""

import copy
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from oneformer_runtime.description import GRAPH_NAME, ModelDescription
from oneformer_runtime.model_json import is_exported, write_description
from oneformer_runtime.preparing import prepare, to_batch
from oneformer_runtime.reading import load_image

from .checking import ExportError, Trial, compare, trial_inputs
from .description import describe_model
from .network import ExportedNetwork
from .replacements import replace_layers
from .tracing import DEFAULT_OPSET, OPSETS, write_graph

_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
_LEAST_TORCH = (2, 6)  # whose torch.onnx.export takes what torch.export traced
_VERSIONS = ('oneformer', 'torch', *_PACKAGES)


def export_model(
    model: nn.Module,
    pipeline: Sequence[Mapping],
    dataset_meta: Mapping,
    folder: str | os.PathLike,
    *,
    name: str = '',
    size: tuple[int, int] | None = None,
    opset: int = DEFAULT_OPSET,
    images: Sequence[str | os.PathLike] = (),
    overwrite: bool = False,
) -> list[Trial]:
    """Write ``model.onnx`` and ``model.json`` of a trained model, once they agree with it.

    The graph takes images of any size and any number, and any tasks; see
    ``oneformer_runtime.description``. It is run by onnxruntime beside torch, at sizes that it was
    not made with, and no folder is left if they differ by more than rounding.

    Args:
        model: A ``OneFormer`` for prediction, such as ``inference.loading.load_trained``
            returns. It is not changed.
        pipeline: Configs of its test transforms.
        dataset_meta: ``classes``, ``thing_classes``, and maybe ``palette`` and ``category_ids``.
        folder: Folder to write.
        name: Name of the model, for people.
        size: (height, width) if all images are to be padded to one size, None for any size.
        opset: Version of ONNX's operators, see ``tracing.OPSETS``.
        images: Paths of images that the check predicts, too.
        overwrite: Replace a folder that holds an exported model.

    Returns:
        How graph and model compared.

    Raises:
        ExportError: A ValueError: if the model cannot be traced, or its graph does not agree.
        ValueError: For what an exported model cannot do (windows, other test transforms), a size
            that is not a multiple of the model's divisor, an unknown opset, and a folder with
            files.
        OSError: If an image cannot be read.
        ModuleNotFoundError: Without onnx, onnxscript and onnxruntime.
    """
    require_packages()
    folder = Path(folder)
    _check_folder(folder, overwrite)
    description = describe_model(
        model,
        pipeline,
        dataset_meta,
        name=name,
        licence=getattr(model.backbone, 'licence', ''),
        size=size,
        versions=_versions(opset),
    )
    divisor = description.image.divisor
    _check_options(size, opset, divisor)
    batches = [*trial_inputs(divisor, size), *_image_inputs(images, description)]
    network = ExportedNetwork(model).eval()
    with _replacing_folder(folder) as unfinished:
        print_log('tracing the model, which takes a minute or some', logger='current')
        path = unfinished / GRAPH_NAME
        _trace(network, path, divisor, size, opset)
        print_log('comparing the graph with torch', logger='current')
        trials = compare(network, path, batches)
        for trial in trials:
            print_log(str(trial), logger='current')
        if wrong := [trial for trial in trials if not trial.agrees]:
            raise ExportError(
                f'the graph differs from the model by more than rounding, so it was not kept '
                f'({wrong[0]}; {wrong[0].allowed[0]:.1g} and {wrong[0].allowed[1]:.1g} are '
                'allowed): please report it with the config'
            )
        agreement = dict(trials=[asdict(trial) for trial in trials])
        write_description(replace(description, agreement=agreement), unfinished)
    return trials


def _trace(
    network: nn.Module, path: Path, divisor: int, size: tuple[int, int] | None, opset: int
) -> None:
    traced = copy.deepcopy(network)
    replace_layers(traced)
    for parameter in traced.parameters():
        parameter.requires_grad_(False)
    try:
        write_graph(traced, path, divisor, size, opset)
    except Exception as error:  # of torch's exporter, which has many
        first = (str(error).strip().splitlines() or [''])[0][:300]
        remedy = 'please report it with the config'
        if size is None:
            remedy = f'try --size HEIGHT WIDTH, for images of one size, and {remedy}'
        raise ExportError(
            f'torch {torch.__version__} cannot export this model ({type(error).__name__}: '
            f'{first}): {remedy}'
        ) from error


def require_packages() -> None:
    """Check that what writes and runs a graph is installed.

    Raises:
        ModuleNotFoundError: If a package is missing, or torch is too old.
    """
    release = tuple(map(int, torch.__version__.split('+')[0].split('.')[:2]))
    if release < _LEAST_TORCH:
        raise ModuleNotFoundError(
            f'to export a model needs torch {".".join(map(str, _LEAST_TORCH))} or newer, and this '
            f'is {torch.__version__}: the weights can be exported in another environment'
        )
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f'to export a model needs {", ".join(missing)}: pip install "oneformer[export]"'
        )


def _versions(opset: int) -> dict[str, str]:
    found = dict(opset=str(opset))
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a checkout that is not installed
            continue
    return found


def _check_options(size: tuple[int, int] | None, opset: int, divisor: int) -> None:
    if opset not in OPSETS:
        raise ValueError(f'opset {opset} cannot be written: choose one of {_listed(OPSETS)}')
    for side in size or ():
        if side < divisor or side % divisor:
            wanted = max(divisor, -(-side // divisor) * divisor)
            raise ValueError(
                f'--size {size[0]} {size[1]}: sides are multiples of {divisor}, which {side} is '
                f'not: say {wanted}'
            )


def _listed(numbers: Sequence[int]) -> str:
    return ', '.join(map(str, numbers))


def _check_folder(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f'{folder} is a file: give a folder')
    if not any(folder.iterdir()):
        return
    if not is_exported(folder):
        raise ValueError(f'{folder} has files that are not an exported model: give a new folder')
    if not overwrite:
        raise ValueError(f'{folder} holds an exported model: give a new folder, or --overwrite')


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside, which takes the place of ``folder`` if the block ends well."""
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished, before = (
        folder.with_name(f'.{folder.name}.{os.getpid()}.{ending}') for ending in ('tmp', 'old')
    )
    unfinished.mkdir()
    try:
        yield unfinished
        if folder.exists():
            folder.rename(before)
        unfinished.rename(folder)
    finally:
        for rest in (unfinished, before):
            shutil.rmtree(rest, ignore_errors=True)


def _image_inputs(
    images: Sequence[str | os.PathLike], description: ModelDescription
) -> list[tuple[str, Tensor, list[list[int]]]]:
    """Images of files as the runtime prepares them, each a batch with all tasks."""
    batches = []
    for path in images:
        loaded = load_image(path, description.image.rules)
        prepared = prepare(np.ascontiguousarray(loaded.pixels), description.image)
        batch = torch.from_numpy(to_batch([prepared], description.image))
        batches.append((Path(path).name, batch, [[0, 1, 2]]))
    return batches
