"""What mmengine calls to load weights: a hook for checkpoints, and an initialiser for backbones."""

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress

from mmdet.utils import get_test_pipeline_cfg
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseModule, update_init_info
from mmengine.registry import HOOKS, WEIGHT_INITIALIZERS
from mmengine.runner import BaseLoop

from ..host.errors import CheckpointError, key_list
from ..host.runner_state import bare_model
from ..images.rules import complete_steps
from .fitting import Fit, fit, options_beside
from .frozen import LeaveOutFrozen, complete_average, remember_source
from .reading import PREFIX, Weights, read, read_with_content
from .replaced_weights import skip_replaced_weights
from .settings import notes_on, warn_of_differences
from .statistics import difference, statistics_of

_REMEDY = (
    'Start from another file by --cfg-options model.backbone.init_cfg.checkpoint=FILE, or from '
    'random weights by --cfg-options model.backbone.init_cfg=None'
)
_OF_TRAINING = ('meta', 'optimizer', 'message_hub')


def _tell_other_settings(runner, weights: Weights) -> None:
    """See ``warn_of_differences``; several scales have their own size of images."""
    model = runner.cfg.get('model')
    if not isinstance(model, Mapping) or 'test_cfg' not in model:
        return
    pipeline = None
    if model.get('tta') is None:
        with suppress(AttributeError, LookupError, RuntimeError, TypeError):
            dataset = runner.cfg.test_dataloader.dataset
            pipeline = complete_steps(get_test_pipeline_cfg(runner.cfg), dataset)
    warn_of_differences(weights, model, pipeline)


@HOOKS.register_module()
class ReuseWeights(Hook):
    """Fits checkpoints of a ``OneFormer`` to its model, or refuses them, see ``fit``.

    Training that starts from ``load_from`` re-uses rows of the class head by name. Resumed training
    and testing need the same classes, and the same dilations.

    Args:
        fresh: What the names of those tensors begin with that training which starts initialises
            newly. An example are object queries of another number.
    """

    priority = 'VERY_HIGH'  # before EMAHook copies the weights

    def __init__(self, fresh: Sequence[str] = ()) -> None:
        if isinstance(fresh, str):
            raise ValueError(f'default_hooks.weights.fresh is {fresh!r}: write a list, [{fresh}]')
        self.fresh = fresh

    def before_init_weights(self, runner) -> None:
        """Do not fetch what a checkpoint replaces; of this project's training, not of mmengine."""
        skip_replaced_weights(runner, self.fresh)

    def _leave_out_frozen(self, runner) -> None:
        """Another hook for that, since it comes after those that add to checkpoints."""
        if not any(isinstance(hook, LeaveOutFrozen) for hook in runner.hooks):
            runner.register_hook(LeaveOutFrozen())

    def before_run(self, runner) -> None:
        """The same in any training, but for models that are initialised by now.

        Also leave out of checkpoints what ``save_frozen=False`` wants, see ``frozen``.
        """
        self._leave_out_frozen(runner)
        if isinstance(runner._train_loop, BaseLoop):
            self.before_init_weights(runner)

    def before_train(self, runner) -> None:
        """Tell where images are normalised otherwise than the backbone's weights want them."""
        if line := difference(bare_model(runner)):
            print_log(line, logger='current', level=logging.WARNING)

    def before_save_checkpoint(self, runner, checkpoint: MutableMapping) -> None:
        """Keep what weights do not tell of their backbone beside them."""
        model = bare_model(runner)
        checkpoint['meta']['backbone'] = options_beside(model)
        if licence := getattr(getattr(model, 'backbone', None), 'licence', None):
            checkpoint['meta']['licence'] = licence

    def after_load_checkpoint(self, runner, checkpoint: MutableMapping) -> None:
        """Change the checkpoint in place, before it goes to the model.

        Raises:
            CheckpointError: If the checkpoint does not fit.
        """
        weights = checkpoint.pop('weights', None)
        if not isinstance(weights, Weights):  # mmengine's own loader
            weights = Weights.of(checkpoint, runner._load_from or 'the checkpoint')
        # the Runner builds the loop of training, and only then loads what it starts from
        trains = isinstance(runner._train_loop, BaseLoop)
        if not trains:
            _tell_other_settings(runner, weights)
        elif runner._resume and (lost := [key for key in _OF_TRAINING if key not in checkpoint]):
            raise CheckpointError(
                f'{weights.path} has no {", ".join(lost)}, so training cannot go on from it: start '
                'from its weights, by load_from without --resume'
            )
        how = 'start' if trains and not runner._resume else 'exact'
        model = bare_model(runner)
        fitted = fit(weights, model, how, self.fresh)
        if not any(key.startswith(PREFIX) for key in fitted.fresh):
            remember_source(weights, getattr(model, 'backbone', None), weights.path)
        checkpoint['state_dict'] = fitted.tensors
        complete_average(checkpoint, fitted.tensors)
        notes = [] if trains and runner._resume else notes_on(weights)
        for line in [*notes, *fitted.lines]:
            print_log(line, logger='current')


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Load a backbone from a file of it, or of a model that has it, whoever made it.

    Recognised by their names are ResNet (torchvision, detectron2, OpenMMLab, timm), Swin
    (Microsoft, timm, OpenMMLab, Hugging Face), ConvNeXt (Facebook, timm, OpenMMLab, Hugging Face),
    DiNAT (SHI-Labs, Hugging Face), DINOv2 and DINOv3 (Meta, timm, Hugging Face), and a whole
    OneFormer with one of them. A ``TimmBackbone`` takes what timm takes for its model.

    Unlike mmengine's ``Pretrained`` it runs no pickle, and every tensor is accounted for: only
    output norms and a feature pyramid may be missing, which start fresh, and only a classifier and
    what pre-training needs may be left. Bias tables of Swin for another window are interpolated,
    and so are positions and patches of DINOv2 and DINOv3.

    Args:
        checkpoint: File, folder of Hugging Face, or URL, which is downloaded once.
        trust_pickle: Load pickles of more than tensors, such as detectron2's, which may run any
            code.

    Raises:
        CheckpointError: When called, if the file cannot be had, or with the names of what does not
            fit.
    """

    def __init__(self, checkpoint: str, trust_pickle: bool = False) -> None:
        self.checkpoint = checkpoint
        self.trust_pickle = trust_pickle

    def _fitted(self, module: BaseModule) -> tuple[Weights, Fit]:
        """What was read, and what of it the backbone gets."""
        if not hasattr(module, 'translate'):
            weights = read(self.checkpoint, self.trust_pickle)
            return weights, fit(weights, module, 'backbone')
        # a model of a library that knows the names in files of it
        place, trust = self.checkpoint, self.trust_pickle
        weights, _ = read_with_content(place, trust, 'cpu', Weights.foreign)
        if weights.layout == 'plugin':
            return weights, fit(weights, module, 'backbone')
        try:
            tensors, unused = module.translate(weights.tensors)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        return weights, Fit(tensors, unused=unused)

    def __call__(self, module: BaseModule) -> None:
        """Load the weights into a backbone, see the class."""
        name = type(module).__name__
        try:
            weights, fitted = self._fitted(module)
        except (CheckpointError, OSError) as error:
            raise CheckpointError(
                f'{self.checkpoint} cannot be loaded into {name}: {error}. {_REMEDY}'
            ) from error
        module.load_state_dict(fitted.tensors, strict=False)
        remember_source(weights, module, self.checkpoint)
        if told := statistics_of(str(self.checkpoint), weights.config):
            module.mean, module.std = told
        for child in module.modules():
            if isinstance(child, BaseModule) and child is not module:
                child.is_init = True  # or it would initialise itself once more, at random
        lines = [
            f'{name}: {len(fitted.tensors)} tensors from {self.checkpoint} ({weights.layout})',
            key_list('not used', fitted.unused),
            key_list('initialised afresh', fitted.fresh),
            key_list('interpolated for another size', fitted.resized),
            *fitted.lines,
        ]
        print_log('\n'.join(filter(None, lines)), logger='current', level=logging.INFO)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'PretrainedBackbone: {self.checkpoint}')
