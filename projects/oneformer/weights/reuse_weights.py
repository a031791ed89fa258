"""Start from a checkpoint of other classes: rows of the class head are re-used by class name.

Everything else has to fit, tensor by tensor, and nothing is skipped silently.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress

from mmdet.utils import get_test_pipeline_cfg
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop
from torch import Tensor
from torch.distributed.tensor import DTensor

from ..checkpoints.content import Checkpoint, classes_of, require_ours
from ..checkpoints.settings import warn_of_differences
from ..class_matching import check_same_classes, match_classes
from ..conversion.architecture import (
    CLASS_HEAD,
    contradictions,
    has_text_branch,
    in_text_branch,
    not_in_weights,
    num_classes_of,
    shapes_of,
)
from ..conversion.fitting import config_advice, misfits
from ..host.runner_state import bare_model
from ..images.rules import complete_steps
from .replaced_weights import skip_replaced_weights


def class_table(source: Sequence[str], target: Sequence[str], rows: Sequence[int | None]) -> str:
    """Tell which row of the class head comes from where.

    Args:
        source: Classes of the checkpoint.
        target: Classes of the model.
        rows: For each class of the model its label in the checkpoint, or None.
    """
    if list(rows) == list(range(len(source))):
        return f'class head: all {len(target)} classes are those of the checkpoint'
    new = rows.count(None)
    width = max(map(len, target))
    lines = [
        f'class head: {len(target) - new} of {len(target)} classes re-used by name, {new} new, '
        f'{len(source) - len(set(rows) - {None})} of the {len(source)} in the checkpoint not used',
        f'  {"class":{width}}  in the checkpoint',
    ]
    for name, row in zip(target, rows):
        shared = ' (also for others)' if row is not None and rows.count(row) > 1 else ''
        lines.append(f'  {name:{width}}  {"- (new)" if row is None else source[row] + shared}')
    return '\n'.join([*lines, f'  {"no object":{width}}  no object'])


def reuse_rows(pretrained: Tensor, fresh: Tensor, rows: Sequence[int | None]) -> Tensor:
    """Rows of a class head by class, the last one, "no object", always from the checkpoint.

    Args:
        pretrained: Weight or bias of the checkpoint, its first axis of classes and "no object".
        fresh: That of the model, newly initialised.
        rows: For each class of the model its row in ``pretrained``, or None to keep ``fresh``.
    """
    if isinstance(fresh, DTensor):
        fresh = fresh.full_tensor()
    reused = fresh.detach().to(pretrained, copy=True)
    for label, row in enumerate([*rows, -1]):
        if row is not None:
            reused[label] = pretrained[row]
    return reused


def _refusal(tensors: Mapping[str, Tensor], model_state: Mapping[str, Tensor]) -> list[str]:
    """Lines that tell why tensors do not fit the model of the config, none if they do."""
    theirs, ours = shapes_of(tensors), shapes_of(model_state)
    if not (lines := misfits(theirs, ours)):
        return []
    title = 'the checkpoint does not fit the model of the config'
    return [title, *lines, *config_advice(theirs, ours)]


def start_from(
    checkpoint: Mapping,
    model_state: Mapping[str, Tensor],
    metainfo: Mapping,
    path: str,
    fresh: Sequence[str] = (),
) -> tuple[dict[str, Tensor], list[str]]:
    """Weights to start training from, of a checkpoint of any classes.

    Args:
        checkpoint: Content of the file.
        model_state: State dict of the newly initialised model.
        metainfo: Classes of the model.
        path: Of the file, for messages.
        fresh: What the names of those tensors begin with that stay as the model has them.

    Returns:
        A state dict, and lines for the log that tell what was re-used and what is new.

    Raises:
        RuntimeError: If anything but the class head and ``fresh`` does not fit.
        ValueError: If ``fresh`` has the beginning of no tensor.
    """
    checkpoint = Checkpoint.of(checkpoint, path)
    tensors = checkpoint.tensors
    require_ours(tensors, path)
    unknown = [start for start in fresh if not any(key.startswith(start) for key in model_state)]
    if unknown:
        raise ValueError(f'default_hooks.weights.fresh names what no tensor begins with: {unknown}')
    lines = [f'newly initialised as the config says: {start}' for start in fresh]
    if has_text_branch(model_state) and not has_text_branch(tensors):
        fresh = [*fresh, *filter(in_text_branch, model_state)]
        lines.append('text branch: not in the checkpoint, newly initialised')
    elif has_text_branch(tensors) and not has_text_branch(model_state):
        lines.append('text branch: left out, since the model has none')
    weights = {key: value for key, value in tensors.items() if not key.startswith(tuple(fresh))}
    weights |= {key: value for key, value in model_state.items() if key.startswith(tuple(fresh))}
    if problems := _refusal(weights, model_state):
        option = '--cfg-options default_hooks.weights.fresh=[BEGINNING_OF_A_NAME,...]'
        problems.append(f'Or to start some tensors newly initialised: {option}')
        raise RuntimeError('\n'.join(problems))
    if not CLASS_HEAD[0].startswith(tuple(fresh)):
        source = classes_of(checkpoint, num_classes_of(shapes_of(weights)), metainfo)
        rows = match_classes(source, metainfo)
        for key in CLASS_HEAD:
            weights[key] = reuse_rows(weights[key], model_state[key], rows)
        lines.append(class_table(source['classes'], metainfo['classes'], rows))
    return {key: value for key, value in weights.items() if key in model_state}, lines


def _backbone_config(runner) -> Mapping:
    """Config of the backbone, empty for a model that was not built by its runner."""
    return (runner.cfg.get('model') or {}).get('backbone') or {}


def _tell_other_settings(runner, content: Checkpoint) -> None:
    """See ``warn_of_differences``; several scales have their own size of images."""
    model = runner.cfg.get('model')
    if not isinstance(model, Mapping) or 'test_cfg' not in model:
        return
    pipeline = None
    if model.get('tta') is None:
        with suppress(AttributeError, LookupError, RuntimeError, TypeError):
            dataset = runner.cfg.test_dataloader.dataset
            pipeline = complete_steps(get_test_pipeline_cfg(runner.cfg), dataset)
    warn_of_differences(content, runner._load_from or 'the checkpoint', model, pipeline)


@HOOKS.register_module()
class ReuseWeights(Hook):
    """Fits checkpoints of a ``OneFormer`` to its model, or refuses them.

    Training that starts from ``load_from`` re-uses rows of the class head by name. Resumed training
    and testing need the same classes, and the same dilations.

    Args:
        fresh: Of training that starts: what the names of those tensors begin with that are newly
            initialised. An example are object queries of another number.
    """

    priority = 'VERY_HIGH'  # before EMAHook copies the weights

    def __init__(self, fresh: Sequence[str] = ()) -> None:
        if isinstance(fresh, str):
            raise ValueError(f'default_hooks.weights.fresh is {fresh!r}: write a list, [{fresh}]')
        self.fresh = fresh

    def before_init_weights(self, runner) -> None:
        """Do not fetch what a checkpoint replaces; of this project's training, not of mmengine."""
        skip_replaced_weights(runner, self.fresh)

    def before_run(self, runner) -> None:
        """The same in any training, but for models that are initialised by now."""
        if isinstance(runner._train_loop, BaseLoop):
            self.before_init_weights(runner)

    def before_save_checkpoint(self, runner, checkpoint: MutableMapping) -> None:
        """Keep what weights do not tell of their backbone beside them."""
        checkpoint['meta']['backbone'] = not_in_weights(_backbone_config(runner))

    def after_load_checkpoint(self, runner, checkpoint: MutableMapping) -> None:
        """Change the checkpoint in place, before it goes to the model.

        Raises:
            RuntimeError: If the checkpoint does not fit.
        """
        model = bare_model(runner)
        state, metainfo = model.state_dict(), model.metainfo
        path = str(runner._load_from or 'SRC')
        content = Checkpoint.of(checkpoint, path)
        others = contradictions(_backbone_config(runner), content.backbone_options)
        # the Runner builds the loop of training, and only then loads what it starts from
        if isinstance(runner._train_loop, BaseLoop) and not runner._resume:
            weights, lines = start_from(checkpoint, state, metainfo, path, self.fresh)
            loaded = checkpoint.get('state_dict', checkpoint)
            loaded.clear()  # not replaced, since it also carries the versions of modules
            loaded.update(weights)
            for line in [*lines, *others]:
                print_log(line, logger='current')
            return
        if others:
            raise RuntimeError('\n'.join(others))
        if not isinstance(runner._train_loop, BaseLoop):  # evaluation
            _tell_other_settings(runner, content)
        require_ours(content.tensors, path)
        if problems := _refusal(content.tensors, state):
            raise RuntimeError('\n'.join(problems))
        source = classes_of(content, num_classes_of(shapes_of(content.tensors)), metainfo)
        try:
            check_same_classes(source, metainfo)
        except ValueError as error:
            raise RuntimeError(
                f'{error}. Take the config of its classes. To train on other classes than those '
                'of a checkpoint, give it as load_from without --resume'
            ) from None
        checkpoint['state_dict'] = content.tensors
