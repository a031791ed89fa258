"""Convert a checkpoint between the original, Hugging Face and this plugin, strictly.

Every tensor of the source is used or listed, every tensor of the target is filled or listed.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor

from ..checkpoints.content import MARKS, Checkpoint, classes_of, recognise
from ..checkpoints.embedded_config import embedded_config
from ..checkpoints.files import (
    check_destination,
    read_checkpoint,
    read_json,
    write_folder,
    write_torch,
)
from ..checkpoints.settings import describe_settings
from ..class_matching import check_same_classes
from ..host.errors import CheckpointError, key_list
from ..metainfo import KNOWN_DATASETS, resolve_metainfo
from . import huggingface, official
from .architecture import (
    Shapes,
    assumptions,
    backbone_config,
    contradictions,
    describe,
    describe_backbone,
    expected_shapes,
    has_text_branch,
    in_text_branch,
    model_config,
    not_in_weights,
    num_classes_of,
    shapes_of,
    undilated,
    window_index,
)
from .backbones import PREFIX, fit_backbone, translate_backbone
from .fitting import compare
from .huggingface import HUGGINGFACE
from .huggingface_config import check_config, check_function, config_of
from .layout import Translation, rebuilt_by_us
from .official import OFFICIAL

LAYOUTS = dict(official=OFFICIAL, huggingface=HUGGINGFACE)
REBUILT = dict(official=official.rebuilt, huggingface=huggingface.rebuilt)


@dataclass
class Report:
    """What a conversion did.

    Attributes:
        source: Library of the source, a key of ``MARKS``.
        target: Library of the target.
        model: Config of the model.
        num_classes: K.
        used: Number of tensors that were carried over.
        unused: Names in the source that the function does not depend on, or that are rebuilt.
        dropped: Names in the source of the text branch, left out.
        rebuilt: Names in the target that are not in the source.
        notes: Lines about what the source does not tell.
    """

    source: str
    target: str
    model: dict
    num_classes: int
    used: int
    unused: list[str]
    dropped: list[str]
    rebuilt: list[str]
    notes: list[str]

    def __str__(self) -> str:
        parts = [
            f'{self.source} -> {self.target}: {describe(self.model)}, {self.num_classes} classes',
            key_list('not needed in the source', self.unused),
            key_list('left out with the text branch', self.dropped),
            key_list('rebuilt in the target', self.rebuilt),
            *self.notes,
            f'{self.used} tensors converted',
        ]
        return '\n'.join(part for part in parts if part)


@dataclass
class BackboneReport:
    """What a conversion of a backbone alone did.

    Attributes:
        source: Who made the file.
        backbone: Config of the backbone.
        used: Number of tensors that were carried over.
        unused: Names in the source of what a backbone does not use.
        fresh: Names of output norms, which the source does not have.
    """

    source: str
    backbone: dict
    used: int
    unused: list[str]
    fresh: list[str]

    def __str__(self) -> str:
        parts = [
            f'{self.source} -> plugin: {describe_backbone(self.backbone)}, a backbone alone',
            key_list('not needed in the source', self.unused),
            key_list('not in the source, left to initialisation', self.fresh),
            f'{self.used} tensors converted',
        ]
        return '\n'.join(part for part in parts if part)


def _translate(tensors: Mapping[str, Tensor], library: str) -> Translation:
    """Tensors under our names; what we rebuild ourselves counts as unused."""
    if library != 'plugin':
        return LAYOUTS[library].to_ours(tensors)
    kept = {key: tensor for key, tensor in tensors.items() if not rebuilt_by_us(key)}
    return Translation(kept, unused=[key for key in tensors if rebuilt_by_us(key)])


def _check(
    translation: Translation,
    expected: Shapes,
    names_of: Callable[[str], list[str]],
    source: Mapping[str, Tensor],
) -> None:
    """Refuse what does not fit the tensors of the model, all but those that are rebuilt."""
    shapes = shapes_of(translation.tensors)
    different = compare(shapes, expected)
    missing = [
        name for key in different.missing for name in names_of(key) or [key] if name not in source
    ]
    unknown = [name for key in different.unknown for name in names_of(key)]
    wrong = [
        f'{" + ".join(names_of(key))}: {shapes[key]}, expected {expected[key]}'
        for key in different.misshapen
    ]
    lists = [
        key_list('missing', missing),
        key_list('unknown', translation.unknown + unknown),
        key_list('wrong shape', translation.broken + wrong),
    ]
    if any(lists):
        raise CheckpointError('\n'.join(filter(None, lists)))


def _metainfo(
    given: str | None, cfg: Config | None, checkpoint: Checkpoint, num_classes: int
) -> dict:
    """Classes from the argument, or else from the config and the checkpoint, which have to agree.

    The argument may leave out classes that the checkpoint names.
    """
    if given is not None:
        is_file = given not in KNOWN_DATASETS and Path(given).is_file()
        metainfo = read_json(Path(given)) if is_file else given
        if is_file and 'classes' not in metainfo:
            metainfo = {**classes_of(checkpoint, num_classes), **metainfo}
    else:
        expected = resolve_metainfo(cfg.model.metainfo) if cfg is not None else None
        metainfo = classes_of(checkpoint, num_classes, expected)
        if expected is not None:
            try:
                check_same_classes(metainfo, expected)
            except ValueError as error:
                raise CheckpointError(f'{error}. Or say what is right with --metainfo') from None
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


def _model_of(
    tensors: Mapping[str, Tensor],
    backbone_options: Mapping,
    cfg: Config | None,
    names_of: Callable[[str], list[str]],
) -> dict:
    """Config of the model of these tensors, of ``cfg`` or read from their shapes."""
    if cfg is not None:
        model = cfg.model.to_dict()
        if not has_text_branch(tensors):
            model.update(text_mapper=None, contrastive_loss=None)
        return model
    with _reading_shapes(names_of):
        return model_config(shapes_of(tensors), backbone_options)


@contextmanager
def _reading_shapes(names_of: Callable[[str], list[str]]) -> Iterator[None]:
    """Name what is missing or misshapen among the tensors that tell the architecture."""
    try:
        yield
    except KeyError as error:
        (key,) = error.args
        raise CheckpointError(key_list('missing', names_of(key) or [key])) from error
    except (IndexError, ArithmeticError) as error:
        raise CheckpointError(
            f'the architecture cannot be read from the shapes ({error}): --config tells which do '
            'not fit'
        ) from error


def _expected_shapes(model: Mapping) -> dict[str, tuple[int, ...]]:
    try:
        return expected_shapes(model)
    except (ArithmeticError, AssertionError, ValueError) as error:
        raise CheckpointError(
            f'no model can be built from the shapes: {error}; --config tells which do not fit'
        ) from error


def _rebuild_ours(expected: Shapes) -> dict[str, Tensor]:
    """Our tensors that follow from the architecture alone, see ``rebuilt_by_us``."""
    return {
        key: window_index(math.isqrt(shape[0]))
        if key.endswith('.relative_position_index')
        else torch.zeros(shape, dtype=torch.int64)  # num_batches_tracked
        for key, shape in expected.items()
        if rebuilt_by_us(key)
    }


def convert(
    source: str | PathLike,
    destination: str | PathLike,
    target: str = 'plugin',
    metainfo: str | None = None,
    config: str | None = None,
    drop_text_branch: bool = False,
    trust_pickle: bool = False,
    overwrite: bool = False,
) -> Report | BackboneReport:
    """Convert a checkpoint, see ``tools/convert_checkpoint.py``.

    Args:
        source: A file, or a folder of Hugging Face; of a OneFormer or of a backbone alone.
        destination: A file, or for Hugging Face a folder.
        target: A key of ``MARKS``.
        metainfo: Name of a dataset or a JSON file with ``classes`` and ``thing_classes``; the
            default is what the source or the number of classes says.
        config: Config whose model the checkpoint has to fit; the default is read from the shapes.
        drop_text_branch: Leave out what only training uses.
        trust_pickle: Load pickles of more than tensors, which may run any code.
        overwrite: Replace a destination that exists.

    Raises:
        CheckpointError: If the source is not trusted, not recognised, or not complete.
        OSError: If a file cannot be read or written.
    """
    source, destination = Path(source), Path(destination)
    check_destination(source, destination, target == 'huggingface', overwrite)
    checkpoint = read_checkpoint(source, trust_pickle)
    library = recognise(checkpoint.tensors)
    if library is None:
        error = f'this is not a OneFormer: no key begins with {", ".join(MARKS.values())}'
        if target != 'plugin' or metainfo or config or drop_text_branch:
            raise CheckpointError(
                f'{source}: {error}; a backbone alone is converted without options'
            )
        try:
            return _convert_backbone(checkpoint, destination)
        except CheckpointError as backbone_error:
            raise CheckpointError(f'{source}: {error}, and {backbone_error}') from None
    if library == target:
        raise CheckpointError(f'{source} is a checkpoint of {target} already')
    try:
        return _convert(
            checkpoint, library, destination, target, metainfo, config, drop_text_branch
        )
    except CheckpointError as error:
        raise CheckpointError(f'{source} ({library}) cannot be converted:\n{error}') from error


def _convert_backbone(checkpoint: Checkpoint, destination: Path) -> BackboneReport:
    parts = [key for key in checkpoint.tensors if any(m in key for m in MARKS.values())]
    if parts:
        raise CheckpointError(
            'it is more than a backbone: something goes before the names of a OneFormer, as in '
            f'{parts[0]}'
        )
    weights = translate_backbone(checkpoint.tensors)
    shapes = {f'{PREFIX}{key}': shape for key, shape in shapes_of(weights.tensors).items()}
    with _reading_shapes(lambda key: []):
        # weights do not depend on the dilations
        backbone = backbone_config(shapes, dict(dilations=undilated(shapes)))
    fitted = fit_backbone(weights, _expected_shapes(backbone))
    state_dict = {f'{PREFIX}{key}': tensor for key, tensor in fitted.tensors.items()}
    write_torch(destination, dict(meta={}, state_dict=state_dict))
    return BackboneReport(
        source=weights.name,
        backbone=backbone,
        used=len(state_dict),
        unused=weights.left_out,
        fresh=[f'{PREFIX}{key}' for key in fitted.fresh],
    )


def _left_behind(checkpoint: Checkpoint, target: str) -> list[str]:
    """A line about settings of a training for which other libraries have no place."""
    if target == 'plugin' or not checkpoint.config_text:
        return []
    try:
        cfg = embedded_config(checkpoint, 'the source')
    except CheckpointError as error:
        return [str(error)]
    settings = describe_settings(cfg.model, cfg.test_dataloader.dataset.pipeline)
    return [f'not kept, since {target} has no place for it: trained for {settings}']


def _convert(
    checkpoint: Checkpoint,
    library: str,
    destination: Path,
    target: str,
    metainfo: str | None,
    config: str | None,
    drop_text_branch: bool,
) -> Report:
    source = checkpoint.tensors
    check_function(checkpoint.config)
    backbone_options = checkpoint.backbone_options

    def names_of(key: str) -> list[str]:
        return [key] if library == 'plugin' else LAYOUTS[library].names_of(key, source)

    translation = _translate(source, library)
    tensors = translation.tensors
    dropped = []
    if drop_text_branch or not has_text_branch(tensors):
        dropped = [key for key in tensors if in_text_branch(key)]
    for key in dropped:
        del tensors[key]

    cfg = Config.fromfile(config) if config else None
    if cfg is not None and 'panoptic_head' not in cfg.get('model', {}):
        raise CheckpointError(f'{config} has no model that is a OneFormer')
    model = _model_of(tensors, backbone_options, cfg, names_of)
    expected = _expected_shapes(model)
    _check(translation, expected, names_of, source)
    assumed = [] if cfg is not None else assumptions(model['backbone'], backbone_options)
    if assumed and target == 'huggingface':
        raise CheckpointError(f'config.json has to say what is not known: {assumed[0]} (--config)')
    if wrong := contradictions(model['backbone'], backbone_options):
        raise CheckpointError('\n'.join(wrong))
    num_classes = num_classes_of(expected)
    metainfo = _metainfo(metainfo, cfg, checkpoint, num_classes)
    if library == 'huggingface':
        check_config(checkpoint.config, config_of(model, expected, metainfo))

    if target == 'plugin':
        converted, rebuilt = tensors, _rebuild_ours(expected)
        together = {**converted, **rebuilt}
        state_dict = {key: together[key] for key in expected}
        # what was only assumed is left open, for the config that the weights are used with
        backbone = {} if assumed else not_in_weights(model['backbone'])
        meta = dict(dataset_meta=metainfo, backbone=backbone)
        write_torch(destination, dict(meta=meta, state_dict=state_dict))
    else:
        converted = LAYOUTS[target].to_foreign(tensors)
        rebuilt = REBUILT[target](expected)
        rebuilt = {key: tensor for key, tensor in rebuilt.items() if key not in converted}
        if target == 'official':
            write_torch(destination, dict(model={**converted, **rebuilt}))
        else:
            options = config_of(model, expected, metainfo)
            write_folder(destination, {**converted, **rebuilt}, options)
    return Report(
        source=library,
        target=target,
        model=model,
        num_classes=num_classes,
        used=len(converted),
        unused=translation.unused,
        dropped=[name for key in dropped for name in names_of(key)],
        rebuilt=list(rebuilt),
        notes=assumed + _left_behind(checkpoint, target),
    )
