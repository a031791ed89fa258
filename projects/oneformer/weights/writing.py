"""``write``: weights in our layout, the original's or Hugging Face's, strictly.

Every tensor of the source is used or listed, every tensor of the target is filled or listed.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from torch import Tensor, nn

from ..host.errors import CheckpointError, key_list
from ..metainfo import KNOWN_DATASETS, resolve_metainfo
from ..tasks import check_task
from .architecture import (
    assumptions,
    backbone_config,
    has_text_branch,
    in_text_branch,
    model_config,
    num_classes_of,
    undilated,
)
from .classes import class_difference, classes_of
from .differences import add_known_base
from .embedded_config import embedded_config
from .encoder_only import eomt_target, image_size_of, is_one_task_only, trained_tasks
from .files import check_destination, write_folder, write_torch
from .fitting import contradictions, fit, options_beside
from .frozen import with_frozen
from .huggingface_config import check_config, check_function, classes_in, config_of
from .meta_models import meta_model, rebuilt
from .misfits import misfits
from .names import LAYOUTS
from .reading import PREFIX, Weights, read_json
from .rules import rebuilt_by_us
from .settings import describe_settings, notes_on
from .shapes import shapes_of
from .written import Written

_FOLDERS = ('huggingface', 'huggingface-eomt')  # layouts that are folders
_NAME_THEM = 'name them with --metainfo FILE, JSON with "classes" and "thing_classes"'


def write(
    weights: Weights,
    path: str | os.PathLike,
    layout: str = 'plugin',
    metainfo: str | None = None,
    config: str | os.PathLike | None = None,
    drop_text_branch: bool = False,
    overwrite: bool = False,
    tasks: Sequence[str] | None = None,
) -> Written:
    """Write weights for inference or for training to start from.

    Args:
        weights: What was read; of a backbone alone they can be written in our layout.
        path: File to write, or for Hugging Face a folder.
        layout: A key of ``checkpoint_names.MARKS``.
        metainfo: Name of a dataset or a JSON file with ``classes`` and ``thing_classes``; the
            default is what the weights or the number of classes says.
        config: Config whose model the weights have to fit; the default is read from the shapes.
        drop_text_branch: Leave out what only training uses.
        overwrite: Replace what exists.
        tasks: The tasks that a model without a task token was trained for; the default is what the
            weights or their name says.

    Raises:
        CheckpointError: If the weights are not complete, or the path is that of something else.
        OSError: If a file cannot be written.
    """
    path = Path(path)
    add_known_base(weights)
    if tasks and not is_one_task_only(weights.tensors):
        raise CheckpointError(
            f'{weights.path} has a task token, so it is asked for any task: leave out --tasks'
        )
    check_destination(Path(weights.path), path, layout in _FOLDERS, overwrite)
    if weights.is_backbone:
        if layout != 'plugin' or metainfo or config or drop_text_branch:
            raise CheckpointError(
                f'{weights.path} is not of a OneFormer, but a backbone ({weights.layout}): it is '
                'written without options'
            )
        return _write_backbone(weights, path)
    try:
        return _write(weights, path, layout, metainfo, config, drop_text_branch, tasks)
    except CheckpointError as error:
        raise CheckpointError(
            f'{weights.path} ({weights.layout}) cannot be written:\n{error}'
        ) from error


@contextmanager
def _reading_shapes(weights: Weights) -> Iterator[None]:
    """Name what is missing or misshapen among the tensors that tell the architecture."""
    try:
        yield
    except KeyError as error:
        (key,) = error.args
        raise CheckpointError(key_list('missing', weights.source_names(key))) from error
    except (IndexError, ArithmeticError) as error:
        raise CheckpointError(
            f'the architecture cannot be read from the shapes ({error}): --config tells which do '
            'not fit'
        ) from error


def _empty_model(model: Mapping) -> nn.Module:
    try:
        return meta_model(model)
    except (ArithmeticError, AssertionError, ValueError) as error:
        raise CheckpointError(
            f'no model can be built from the shapes: {error}; --config tells which do not fit'
        ) from error


def _write_backbone(weights: Weights, path: Path) -> Written:
    with _reading_shapes(weights):
        shapes = shapes_of(weights.tensors)
        # weights do not depend on the dilations
        backbone = backbone_config(shapes, dict(dilations=undilated(shapes)))
    fitted = fit(weights, _empty_model(backbone), 'backbone')
    tensors = {f'{PREFIX}{key}': tensor for key, tensor in fitted.tensors.items()}
    write_torch(path, dict(meta={}, state_dict=tensors))
    fresh = [f'{PREFIX}{key}' for key in fitted.fresh]
    return Written(
        weights.layout, 'plugin', backbone, len(tensors), unused=fitted.unused, fresh=fresh
    )


def _read_config(config: str | os.PathLike | None) -> Config | None:
    cfg = Config.fromfile(config) if config else None
    if cfg is not None and 'panoptic_head' not in cfg.get('model', {}):
        raise CheckpointError(f'{config} has no model that is a OneFormer')
    return cfg


def _model_of(weights: Weights, tensors: Mapping[str, Tensor], cfg: Config | None) -> dict:
    """Config of the model of these tensors, of ``cfg`` or read from their shapes."""
    if cfg is not None:
        model = cfg.model.to_dict()
        if not has_text_branch(tensors):
            model.update(text_mapper=None, contrastive_loss=None)
        return model
    with _reading_shapes(weights):
        return model_config(shapes_of(tensors), weights.backbone_options)


def _metainfo(given: str | None, cfg: Config | None, weights: Weights, num_classes: int) -> dict:
    """Classes of the argument and, if it has none, the weights; else of config and weights."""
    if given is not None:
        is_file = given not in KNOWN_DATASETS and Path(given).is_file()
        metainfo = read_json(Path(given)) if is_file else given
        if isinstance(metainfo, dict) and 'classes' not in metainfo:
            metainfo = {**classes_of(weights, remedy=_NAME_THEM), **metainfo}
    else:
        expected = resolve_metainfo(cfg.model.metainfo) if cfg is not None else None
        metainfo = classes_of(weights, expected, _NAME_THEM)
        if expected is not None:
            if difference := class_difference(metainfo, expected):
                raise CheckpointError(f'{difference}. Or say what is right with --metainfo')
            metainfo = expected
        if 'thing_classes' not in metainfo:
            raise CheckpointError(
                'the checkpoint names its classes, but not which are things: name these with '
                '--metainfo FILE, JSON with "thing_classes"'
            )
    metainfo = resolve_metainfo(metainfo)
    if len(metainfo['classes']) != num_classes:
        raise CheckpointError(
            f'the checkpoint has {num_classes} classes, but {len(metainfo["classes"])} are named'
        )
    return metainfo


def _with_tasks(
    metainfo: dict, weights: Weights, tensors: Mapping[str, Tensor], tasks: Sequence[str] | None
) -> dict:
    """Metainfo that says which tasks a model without a task token was trained for."""
    if not is_one_task_only(tensors):
        return metainfo
    named = {**weights.dataset_meta, **classes_in(weights.config)}
    size = image_size_of(weights.path, weights.config, named, shapes_of(tensors))
    asked = list(map(check_task, tasks or trained_tasks(weights.path, named)))
    return {**metainfo, 'tasks': asked, 'image_size': size}


def _kept(
    weights: Weights, drop_text_branch: bool
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Tensors to write, and names of the text branch, left out, and of what is rebuilt."""
    tensors = {key: value for key, value in weights.tensors.items() if not rebuilt_by_us(key)}
    left = [key for key in weights.tensors if key not in tensors]
    dropped = []
    if drop_text_branch or not has_text_branch(tensors):
        dropped = [key for key in tensors if in_text_branch(key)]
    return {k: v for k, v in tensors.items() if k not in dropped}, dropped, left


def _write(
    weights: Weights,
    path: Path,
    layout: str,
    metainfo: str | None,
    config: str | os.PathLike | None,
    drop_text_branch: bool,
    tasks: Sequence[str] | None,
) -> Written:
    check_function(weights.config)
    tensors, dropped, left = _kept(weights, drop_text_branch)
    layout = eomt_target(tensors, layout)
    cfg = _read_config(config)
    model = _model_of(weights, tensors, cfg)
    decoder = model['panoptic_head'].get('pixel_decoder', {}).get('type')
    if layout != 'plugin' and decoder == 'IdentityPixelDecoder':
        raise CheckpointError(f'{layout} has no {decoder}: such weights are of this plugin alone')
    empty = _empty_model(model)
    shapes = shapes_of(empty.state_dict())
    frozen = with_frozen(weights, empty).tensors
    tensors = {key: value for key, value in frozen.items() if key not in weights.tensors} | tensors
    if problems := misfits(weights, tensors, shapes, every=True):
        raise CheckpointError('\n'.join(problems))
    assumed = [] if cfg is not None else assumptions(model['backbone'], weights.backbone_options)
    if assumed and layout in _FOLDERS:
        raise CheckpointError(f'config.json has to say what is not known: {assumed[0]} (--config)')
    if wrong := contradictions(empty, weights):
        raise CheckpointError('\n'.join(wrong))
    known = _metainfo(metainfo, cfg, weights, num_classes_of(shapes))
    metainfo = _with_tasks(known, weights, tensors, tasks)
    if weights.layout in _FOLDERS:
        check_config(weights.config, config_of(model, shapes, metainfo))

    written = LAYOUTS[layout].to_foreign(tensors) if layout in LAYOUTS else tensors
    more = {k: v for k, v in rebuilt(shapes, layout).items() if k not in written}
    whole = {**written, **more}
    if layout in _FOLDERS:
        write_folder(path, whole, config_of(model, shapes, metainfo))
    elif layout in ('shi-labs', 'eomt'):
        write_torch(path, dict(model=whole) if layout == 'shi-labs' else whole)
    else:
        # what was only assumed is left open, for the config that the weights are used with
        options = {} if assumed else options_beside(empty)
        meta = dict(dataset_meta=metainfo, backbone=options, **_held(weights, empty))
        write_torch(path, dict(meta=meta, state_dict={key: whole[key] for key in shapes}))
    return Written(
        source=weights.layout,
        target=layout,
        model=model,
        num_classes=len(metainfo['classes']),
        used=len(written),
        unused=weights.unused + left,
        dropped=[name for key in dropped for name in weights.source_names(key)],
        rebuilt=list(more),
        notes=assumed + notes_on(weights) + _left_behind(weights, layout),
    )


def _held(weights: Weights, model: nn.Module) -> dict:
    """What ``meta`` has of where the weights come from, if anything is known of it."""
    held = dict(cfg=weights.config_text, licence=getattr(model.backbone, 'licence', None))
    return {name: value for name, value in held.items() if value}


def _left_behind(weights: Weights, layout: str) -> list[str]:
    """A line about settings of a training for which other libraries have no place."""
    if layout == 'plugin' or not weights.config_text:
        return []
    try:
        cfg = embedded_config(weights)
    except CheckpointError as error:
        return [str(error)]
    if cfg is None:
        return []
    settings = describe_settings(cfg.model, cfg.test_dataloader.dataset.pipeline)
    return [f'not kept, since {layout} has no place for it: trained for {settings}']
