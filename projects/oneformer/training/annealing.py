"""Mask annealing follows the progress of training, and says what does not fit."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..host.runner_state import bare_model
from ..kernels.mask_annealing import MaskAnnealing


def _told(probabilities: list[float]) -> str:
    return '[' + ', '.join(f'{value:.3g}' for value in probabilities) + ']'


@HOOKS.register_module()
class MaskAnnealingHook(Hook):
    """Updates every ``MaskAnnealing`` of a model; without one it does nothing.

    The probabilities are those of the share of iterations that are done, whatever the length of the
    run and whether it was interrupted. ``mask_probability/LAYER`` is logged. A run that makes no
    step without masks, or ends while there are any, is warned of.
    """

    def __init__(self) -> None:
        self.modules: list[MaskAnnealing] = []

    def before_train(self, runner: Runner) -> None:
        """Find the modules, and set the probabilities of the first step, also of a resumed run."""
        model = bare_model(runner)
        self.modules = [m for m in model.modules() if isinstance(m, MaskAnnealing)]
        for module in self.modules:
            saved = module.probabilities.tolist()
            self._update(module, runner, runner.iter)
            self._compare(module, saved, runner)
            last = (runner.max_iters - 1) / runner.max_iters
            left = [i for i in range(len(module)) if module.probability(i, last) > 0]
            if left:
                print_log(
                    f'mask_annealing: the masks of layers {left} are not gone before the last of '
                    f'{runner.max_iters} iterations, so no step is trained as the model predicts. '
                    f'Let mask_annealing.spans end before {last:.6g}, or raise train_cfg.max_iters',
                    'current',
                    logging.WARNING,
                )

    @staticmethod
    def _update(module: MaskAnnealing, runner: Runner, done: int) -> None:
        module.update(min(done / runner.max_iters, 1.0))

    @staticmethod
    def _compare(module: MaskAnnealing, saved: list[float], runner: Runner) -> None:
        """Tell what another length or other spans make of a checkpoint's probabilities."""
        if saved == module.known:
            return
        if runner.iter:
            print_log(
                f'mask_annealing: training goes on at iteration {runner.iter + 1} of '
                f'{runner.max_iters} with the probabilities of that share of the run, '
                f'{_told(module.known)}; the checkpoint, of another length or other spans, has '
                f'{_told(saved)}',
                'current',
            )
        else:
            print_log(
                f'mask_annealing: training starts with the masks of the config, '
                f'{_told(module.known)}; the weights it starts from were left with {_told(saved)}',
                'current',
            )

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Set the probabilities of the next step, of validation, and of a checkpoint."""
        for module in self.modules:
            self._update(module, runner, runner.iter + 1)
            for layer, value in enumerate(module.known):
                runner.message_hub.update_scalar(f'train/mask_probability/{layer}', value)

    def after_train(self, runner: Runner) -> None:
        """Warn if training has ended with masks."""
        for module in self.modules:
            if any(module.known):
                print_log(
                    f'mask_annealing: training ended at iteration {runner.iter} of '
                    f'{runner.max_iters} with masks at the probabilities {_told(module.known)}, so '
                    'that these weights predict with masks. Go on with --resume to anneal them',
                    'current',
                    logging.WARNING,
                )
