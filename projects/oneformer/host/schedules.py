"""Learning rates that follow the length of the run, whatever sets it."""

from collections.abc import Sequence

from mmdet.registry import PARAM_SCHEDULERS
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, MultiStepParamScheduler, _ParamScheduler

LAYER = 'layer'  # key of a parameter group: its layer of the backbone, None outside


def _check(name: str, begin: int, end: int) -> None:
    if end >= INF:
        raise ValueError(
            f'{name} needs the length of the run as end. A Runner fills it in; elsewhere give '
            'end=train_cfg.max_iters'
        )
    if end <= begin:
        raise ValueError(
            f'{name} begins at iteration {begin}, and the run ends at {end}: lower begin, or '
            'raise train_cfg.max_iters'
        )


@PARAM_SCHEDULERS.register_module()
class WholeRunPolyLR(LRSchedulerMixin, _ParamScheduler):
    """Polynomial decay from the first to the last iteration of the run.

    With n iterations and w of them to warm up, iteration k = 0, ..., n - 1 has the rate

    * base * (f + (1 - f) * k / w), if k < w, where f is ``warmup_factor``;
    * base * (1 - (k - w) / (n - w)) ** power, otherwise.

    Without a warm-up this is the original's base * (1 - k / n) ** 0.9. mmengine's ``PolyLR`` with
    ``end=n`` divides by n - 1, and so ends a step early.

    Args:
        optimizer: Optimizer of torch, or mmengine's wrapper.
        power: Exponent of the decay.
        eta_min: Rate that the decay goes to: base - eta_min decays, and eta_min is added.
        warmup: Iterations, at most; a run of fewer than ten times as many takes a tenth of it.
        warmup_factor: Share of the base rate in the first iteration, above 0 and up to 1.
        begin: Iteration that this begins at; those before are left to other schedulers.
        end: n; a Runner fills in the length of its run.
        by_epoch: Whether all these numbers are epochs.
        **kwargs: Arguments of mmengine's schedulers.

    Raises:
        ValueError: If ``end`` is missing or not after ``begin``, or the warm-up is out of range.
    """

    def __init__(
        self,
        optimizer,
        power: float = 0.9,
        eta_min: float = 0,
        warmup: int = 0,
        warmup_factor: float = 0.01,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = False,
        **kwargs,
    ) -> None:
        _check('WholeRunPolyLR', begin, end)
        if not (warmup >= 0 and 0 < warmup_factor <= 1):
            raise ValueError(
                f'WholeRunPolyLR has warmup={warmup} and warmup_factor={warmup_factor}, but takes '
                'a number of iterations from 0, and a factor above 0 and up to 1'
            )
        self.power, self.eta_min = power, eta_min
        self.warmup_factor = warmup_factor
        self.warmup = min(warmup, (end - begin) // 10)
        super().__init__(optimizer, begin=begin, end=end, by_epoch=by_epoch, **kwargs)

    def _warm(self, step: int) -> float:
        """Share of the base rate at a step of the warm-up, or at the one after it."""
        return self.warmup_factor + (1 - self.warmup_factor) * step / max(self.warmup, 1)

    def _decay(self, step: int) -> float:
        rest = self.end - self.begin - self.warmup
        return (1 - (step - self.warmup) / rest) ** self.power

    def _get_value(self) -> list[float]:
        # from the last value, as in mmengine, so that it combines with other schedulers
        step = self.last_step
        values = [group[self.param_name] for group in self.optimizer.param_groups]
        if step > self.warmup:
            ratio, least = self._decay(step) / self._decay(step - 1), self.eta_min
            return [(value - least) * ratio + least for value in values]
        if not self.warmup:
            return values
        ratio = self._warm(step) / (self._warm(step - 1) if step else 1)
        return [value * ratio for value in values]


@PARAM_SCHEDULERS.register_module()
class TwoStagePolyLR(LRSchedulerMixin, _ParamScheduler):
    """Two warm-ups, of the heads and then of the backbone, each before a polynomial decay.

    New heads would spoil a pre-trained backbone with their first gradients. In iteration
    k = 0, ..., n - 1, with v for ``warmup`` and w for ``backbone_warmup``, the rates are

    * of the heads base * k / v for k < v, then base * (1 - (k - v) / (n - v)) ** power;
    * of the backbone 0 for k < v, base * (k - v) / w for k < v + w, then
      base * (1 - (k - v - w) / (n - v - w)) ** power.

    These are EoMT's. The optimizer has to say which groups are of the backbone:
    ``OneFormerOptimWrapperConstructor`` does with ``paramwise_cfg.layer_decay``. Other schedulers
    of the learning rate are overruled.

    Args:
        optimizer: Optimizer of torch, or mmengine's wrapper.
        warmup: v, in which the backbone rests.
        backbone_warmup: w. A run of fewer than ten times v + w iterations takes a tenth of it for
            both, in their proportion.
        power: Exponent of the decay.
        begin: Iteration that this begins at.
        end: n; a Runner fills in the length of its run.
        by_epoch: Whether all these numbers are epochs.
        **kwargs: Arguments of mmengine's schedulers.

    Raises:
        ValueError: If ``end`` is missing or not after ``begin``, a warm-up is negative, or no group
            says where it belongs.
    """

    def __init__(
        self,
        optimizer,
        warmup: int,
        backbone_warmup: int,
        power: float = 0.9,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = False,
        **kwargs,
    ) -> None:
        _check('TwoStagePolyLR', begin, end)
        if min(warmup, backbone_warmup) < 0:
            raise ValueError(
                f'TwoStagePolyLR has warmup={warmup} and backbone_warmup={backbone_warmup}, but '
                'takes numbers of iterations from 0'
            )
        if not any(LAYER in group for group in optimizer.param_groups):
            raise ValueError(
                'TwoStagePolyLR needs an optimizer whose groups say what is of the backbone: set '
                "optim_wrapper.constructor='OneFormerOptimWrapperConstructor' and "
                'optim_wrapper.paramwise_cfg.layer_decay (1.0 for none)'
            )
        both = warmup + backbone_warmup
        share = min(1.0, (end - begin) // 10 / both) if both else 1.0
        self.power = power
        self.warmup, self.backbone_warmup = int(warmup * share), int(backbone_warmup * share)
        super().__init__(optimizer, begin=begin, end=end, by_epoch=by_epoch, **kwargs)

    def _factor(self, start: int, warmup: int) -> float:
        """Share of the base rate for a part that begins to warm up at a step."""
        step = self.last_step - start
        if step < 0:
            return 0.0
        if step < warmup:
            return step / warmup
        return (1 - (step - warmup) / (self.end - self.begin - start - warmup)) ** self.power

    def _get_value(self) -> list[float]:
        # from the base values: from the last one a rate of 0 would never rise
        heads, backbone = (
            self._factor(0, self.warmup),
            self._factor(self.warmup, self.backbone_warmup),
        )
        return [
            base * (heads if group.get(LAYER) is None else backbone)
            for base, group in zip(self.base_values, self.optimizer.param_groups)
        ]


@PARAM_SCHEDULERS.register_module()
class WholeRunMultiStepLR(LRSchedulerMixin, MultiStepParamScheduler):
    """Steps down at the same shares of the run, whatever its length.

    Iteration k = 0, 1, ... has the rate base * gamma ** (number of steps up to k).

    Args:
        optimizer: Optimizer of torch, or mmengine's wrapper.
        steps: Iterations of a run of ``of`` iterations, moved in proportion in any other.
        of: Length of the run for which ``steps`` are given.
        milestones: Iterations of this run, in place of ``steps``.
        begin: Iteration that this begins at; those before are left to other schedulers.
        end: Length of the run; a Runner fills it in.
        by_epoch: Whether all these numbers are epochs.
        **kwargs: ``gamma`` (0.1), and arguments of mmengine's schedulers.

    Raises:
        ValueError: If ``end`` is missing or not after ``begin``, or steps are outside the run.
    """

    def __init__(
        self,
        optimizer,
        steps: Sequence[int] = (),
        of: int | None = None,
        milestones: Sequence[int] | None = None,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = False,
        **kwargs,
    ) -> None:
        _check('WholeRunMultiStepLR', begin, end)
        if milestones is None:
            if of is None or any(not 0 < step < of for step in steps):
                raise ValueError(
                    f'WholeRunMultiStepLR has steps={list(steps)} and of={of}, but takes steps '
                    'within a run of that length'
                )
            milestones = [round(step * (end - begin) / of) for step in steps]
        place = dict(begin=begin, end=end, by_epoch=by_epoch)
        super().__init__(optimizer, milestones=milestones, **place, **kwargs)
