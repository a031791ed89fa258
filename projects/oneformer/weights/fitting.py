"""``fit``: what of weights a model loads, what starts fresh, and what is refused."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from ..class_matching import match_classes
from ..host.errors import CheckpointError, key_list
from .architecture import (
    CLASS_HEAD,
    has_text_branch,
    in_text_branch,
)
from .backbone_names import ENCODER
from .classes import class_difference, class_table, classes_of, reuse_rows
from .differences import add_known_base
from .encoder_only import MASK_PROBABILITIES, SHARED_PATCHES, TASK_TOKEN, is_one_task_only
from .frozen import with_frozen
from .misfits import comparable, config_advice, misfits
from .reading import PREFIX, Weights, numbers_of
from .rules import rebuilt_by_us
from .shapes import shapes_of

HOWS = ('predict', 'exact', 'start', 'backbone')
_TABLE = '.relative_position_bias_table'
_OUTPUT_NORMS = tuple(f'norm{n}.' for n in range(4))


@dataclass
class Fit:
    """What a model gets.

    Attributes:
        tensors: State dict to load. For a backbone it lacks what starts fresh; else it is whole,
            with the model's own tensors for what starts fresh.
        fresh: Names of tensors that stay as the model has them.
        unused: Lines about tensors of the file that are left out.
        resized: Names of tables and kernels that were interpolated.
        lines: Lines for the log.
    """

    tensors: dict[str, Tensor]
    fresh: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def fit(weights: Weights, model: nn.Module, how: str = 'exact', fresh: Sequence[str] = ()) -> Fit:
    """Decide what a model loads of weights.

    Args:
        weights: What was read.
        model: A ``OneFormer``, or for ``'backbone'`` a backbone.
        how: ``'predict'``: everything has to fit, but for the text branch, and the model was built
            for the classes of the weights. ``'exact'``, for tests and training that goes on:
            everything has to fit, and the classes have to be the same in the same order.
            ``'start'``, for training that starts: rows of the class head are re-used by the names
            of the classes, a text branch that is missing starts fresh, and so does ``fresh``.
            ``'backbone'``: only output norms may be missing, and what is not of a backbone is left;
            tables of positions and kernels of patches of another size are interpolated.
        fresh: What the names of those tensors begin with that start fresh.

    Raises:
        CheckpointError: For what does not fit, with the names of the tensors and what to change.
    """
    if how not in HOWS:
        raise ValueError(f'how is {how!r}: it has to be one of {HOWS}')
    add_known_base(weights)
    if how == 'backbone':
        return _fit_backbone(with_frozen(weights, model), model)
    if weights.is_backbone:
        raise CheckpointError(
            f'{weights.path} is not of a OneFormer, but a backbone ({weights.layout}): train with '
            f"model.backbone.init_cfg=dict(type='PretrainedBackbone', "
            f'checkpoint={weights.path!r}) and without load_from'
        )
    if not any(PREFIX.startswith(start) for start in fresh):
        weights = with_frozen(weights, model)
    others = contradictions(model, weights)
    if how == 'start':
        return _fit_start(weights, model, fresh, others)
    if others:
        title = f'{weights.path} is of another model than the config:'
        raise CheckpointError('\n'.join([title, *others]))
    return _fit_exactly(weights, model, how)


def options_beside(model: nn.Module) -> dict:
    """Options of a model's backbone that weights do not tell, kept in ``meta.backbone``."""
    return getattr(getattr(model, 'backbone', None), 'not_in_weights', {})


def contradictions(model: nn.Module, weights: Weights) -> list[str]:
    """Lines about options of the backbone that weights say otherwise beside their tensors."""
    theirs = {
        name: _plain(value) for name, value in weights.backbone_options.items() if value is not None
    }
    return [
        f'{name} of the checkpoint {"are" if isinstance(value, list) else "is"} {theirs[name]}, '
        f'but {value} in the config'
        for name, value in options_beside(model).items()
        if theirs.get(name, value) != value
    ]


def _plain(value):
    """Tuples as lists, at any depth."""
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _refuse_misfits(
    weights: Weights, tensors: Mapping[str, Tensor], model: nn.Module, *hints: str, advise: bool
) -> None:
    theirs, ours = comparable(shapes_of(tensors), shapes_of(model.state_dict()))
    if problems := misfits(weights, {key: tensors[key] for key in theirs}, ours):
        title = (
            f'{weights.path} does not fit the model of the config: give the config that it was '
            'trained with'
        )
        advice = config_advice(theirs, ours) if advise else []
        raise CheckpointError('\n'.join([title, *problems, *advice, *hints]))


def _completed(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a model with the tensors that it gets, and its own for what is rebuilt."""
    state = model.state_dict()  # which carries the versions of modules, too
    for key in state.keys() & tensors.keys():
        is_index = key.endswith('.relative_position_index')
        if not is_index and (state[key].shape == tensors[key].shape or not rebuilt_by_us(key)):
            state[key] = tensors[key]
    return state


def _fit_exactly(weights: Weights, model: nn.Module, how: str) -> Fit:
    _refuse_misfits(weights, weights.tensors, model, advise=how == 'exact')
    if how == 'exact' and (
        difference := class_difference(classes_of(weights, model.metainfo), model.metainfo)
    ):
        raise CheckpointError(
            f'{difference}. Take the config of its classes. To train on other classes than those '
            'of a checkpoint, give it as load_from without --resume'
        )
    return Fit(_completed(model, weights.tensors))


def _fresh_parts(
    theirs: Collection[str], ours: Collection[str], fresh: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Beginnings of the names of what starts fresh, and lines about parts that one side lacks.

    Args:
        theirs: Our names of the tensors of the weights.
        ours: Those of the model.
        fresh: What the config lets start fresh.
    """
    told = [f'newly initialised as the config says: {start}' for start in fresh]
    more = list(fresh)
    if has_text_branch(ours) and not has_text_branch(theirs):
        more += filter(in_text_branch, ours)
        told.append('text branch: not in the checkpoint, newly initialised')
    elif has_text_branch(theirs) and not has_text_branch(ours):
        told.append('text branch: left out, since the model has none')
    if is_one_task_only(theirs) and any(key.startswith(TASK_TOKEN) for key in ours):
        more.append(TASK_TOKEN)
        told.append(
            'task token: not in the checkpoint; its last layer starts at zero, so that the first '
            'outputs are those of the checkpoint for every task'
        )
    if SHARED_PATCHES in ours and SHARED_PATCHES not in theirs:
        more.append(SHARED_PATCHES)
        told.append(
            'shared patches: the checkpoint was trained without them, so that the first outputs '
            'are others than its own'
        )
    if MASK_PROBABILITIES in theirs and MASK_PROBABILITIES not in ours:
        told.append('mask annealing: left out, so that attention masks are on from the start')
    return more, told


def _adapted(
    tensors: Mapping[str, Tensor], model: nn.Module
) -> tuple[Mapping[str, Tensor], list[str]]:
    """Tensors with those of the backbone at the size of a model's images, and lines about it."""
    adapt = getattr(getattr(model, 'backbone', None), 'adapt', None)
    inside = {
        key.removeprefix(PREFIX): value for key, value in tensors.items() if key.startswith(PREFIX)
    }
    if adapt is None or not inside:
        return tensors, []
    inside, resized, lines = adapt(inside)
    rest = {key: value for key, value in tensors.items() if not key.startswith(PREFIX)}
    if resized:
        lines = [*lines, f'interpolated for other sizes: {", ".join(resized)}']
    return {**rest, **{PREFIX + key: value for key, value in inside.items()}}, lines


def _fit_start(
    weights: Weights, model: nn.Module, fresh: Sequence[str], lines: Sequence[str]
) -> Fit:
    state = model.state_dict()
    unknown = [start for start in fresh if not any(key.startswith(start) for key in state)]
    if unknown:
        raise ValueError(f'default_hooks.weights.fresh names what no tensor begins with: {unknown}')
    fresh, told = _fresh_parts(weights.tensors, state, fresh)
    adapted, more = _adapted(weights.tensors, model)
    begins = tuple(fresh)
    tensors = {key: value for key, value in adapted.items() if not key.startswith(begins)}
    if MASK_PROBABILITIES not in state:
        tensors.pop(MASK_PROBABILITIES, None)
    told += more
    own = {key: value for key, value in state.items() if key.startswith(begins)}
    option = '--cfg-options default_hooks.weights.fresh=[BEGINNING_OF_A_NAME,...]'
    hint = f'Or to start some tensors newly initialised: {option}'
    _refuse_misfits(weights, tensors | own, model, hint, advise=True)
    if not CLASS_HEAD[0].startswith(begins):
        source = classes_of(
            weights,
            model.metainfo,
            'start the class head afresh, by --cfg-options '
            'default_hooks.weights.fresh=[panoptic_head.cls_embed.]',
        )
        rows = match_classes(source, model.metainfo)
        for key in CLASS_HEAD:
            tensors[key] = reuse_rows(tensors[key], state[key], rows)
        told.append(class_table(source['classes'], model.metainfo['classes'], rows))
    return Fit(_completed(model, tensors), fresh=list(own), lines=[*told, *lines])


def resize_table(table: Tensor, rows: int) -> Tensor:
    """Interpolate Swin's bias table, of shape ((2 w - 1) ** 2, heads), for another window w.

    Bicubic, as Swin's own code does it.
    """
    old, new = round(len(table) ** 0.5), round(rows**0.5)
    grid = table.T.reshape(1, -1, old, old).float()
    grid = F.interpolate(grid, size=(new, new), mode='bicubic')
    return grid.flatten(2)[0].T.to(table.dtype).contiguous()


def _with_source(weights: Weights, key: str) -> str:
    """Name of a backbone's tensor, and of what makes it up in the file if that is another one."""
    theirs = weights.source_names(PREFIX + key)
    if theirs in ([key], [PREFIX + key]):
        return key
    return f'{key} ({" + ".join(theirs)} in the file)'


def _fit_backbone(weights: Weights, backbone: nn.Module) -> Fit:
    inside = {
        key.removeprefix(PREFIX): value
        for key, value in weights.tensors.items()
        if key.startswith(PREFIX)
    }
    outside = [key for key in weights.tensors if not key.startswith(PREFIX)]
    fitted = Fit({}, unused=weights.unused + numbers_of(outside))
    wheres = ('',) if weights.is_backbone else (PREFIX, ENCODER)
    unknown, wrong = (
        [line for line in lines if line.startswith(wheres)]
        for lines in (weights.unknown, weights.broken)
    )
    if hasattr(backbone, 'adapt'):
        inside, fitted.resized, more = backbone.adapt(inside)
        fitted.lines += more
    may_lack = (*_OUTPUT_NORMS, *getattr(backbone, 'not_in_files', ()))
    missing: list[str] = []
    state = backbone.state_dict()
    for key, own in state.items():
        tensor = inside.get(key)
        if rebuilt_by_us(key):
            continue
        if tensor is None:
            if key.startswith(may_lack):
                fitted.fresh.append(key)
            else:
                missing.append(_with_source(weights, key))
            continue
        is_table = key.endswith(_TABLE) and tensor.dim() == 2
        if is_table and tensor.shape[1] == own.shape[1] and len(tensor) != len(own):
            tensor = resize_table(tensor, len(own))
            fitted.resized.append(key)
        if tensor.shape != own.shape:
            wrong.append(f'{key}: {tuple(tensor.shape)}, expected {tuple(own.shape)}')
        fitted.tensors[key] = tensor
    for key in inside:
        if key not in state and not rebuilt_by_us(key):
            if key.startswith(may_lack):
                fitted.unused.append(key)
            else:
                unknown.append(_with_source(weights, key))
    lists = [
        key_list('missing', missing),
        key_list('unknown', unknown),
        key_list('wrong shape', wrong),
    ]
    if any(lists):
        raise CheckpointError(f'as {weights.layout}:\n' + '\n'.join(filter(None, lists)))
    return fitted
