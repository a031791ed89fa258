"""One place for the length of training: ``max_iters``, of ``train_cfg`` or of the config itself."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from mmdet.registry import LOOPS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner

from .float32_products import float32_products, lack_of_tf32

_AT_THE_END = 10**9  # an interval that no run reaches; the end is always validated


def _check_length(length: Any, where: str) -> int:
    is_number = isinstance(length, int | float) and not isinstance(length, bool)
    if not is_number or length != int(length) or length < 1:
        raise ValueError(
            f'{where} is {length!r}: it takes a number of iterations, a whole one from 1'
        )
    return int(length)


def _length_of(cfg: Mapping, max_iters: int | None) -> int:
    """The length of a run, which its config or the loop states; ValueError if neither does."""
    own = cfg.get('max_iters')
    if own is None and max_iters is None:
        raise ValueError('the length of training is missing: set train_cfg.max_iters')
    if own is None:
        return _check_length(max_iters, 'train_cfg.max_iters')
    return _check_length(own, 'max_iters')


@LOOPS.register_module()
class OneFormerTrainLoop(IterBasedTrainLoop):
    """mmengine's loop over iterations, whose length may also be a line of its own in a config.

    Args:
        runner: The runner.
        dataloader: Dataloader of training, or its config.
        max_iters: Iterations. A ``max_iters`` of the config itself wins, since no shipped config
            has one: it is the user's.
        val_interval: Iterations between validations; None for one at the end alone.
        max_epochs: Length in epochs, which is refused; the message states the iterations.
        tf32: Let matrix products of float32 use TF32 in steps of training; a device that has none
            is logged.
        **kwargs: Arguments of mmengine's loop.

    Raises:
        ValueError: If the length is missing, is not a length, or is given in epochs.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader,
        max_iters: int | None = None,
        val_interval: int | None = None,
        max_epochs: int | None = None,
        tf32: bool = False,
        **kwargs,
    ) -> None:
        length = 1 if max_epochs is not None else _length_of(runner.cfg, max_iters)
        interval = _AT_THE_END if val_interval is None else val_interval
        super().__init__(runner, dataloader, length, val_interval=interval, **kwargs)
        if max_epochs is not None:
            self._refuse_epochs(max_epochs)
        if max_iters not in (None, length):
            print_log(
                f"training is {length} iterations long, by the config's own max_iters; "
                f'train_cfg.max_iters={max_iters} is not used. Take one of the two out, or let '
                'them agree',
                'current',
            )
        lack = lack_of_tf32(get_device()) if tf32 else None
        if lack is not None:
            print_log(f'train_cfg.tf32: {lack}, so products of float32 stay exact', 'current')
        self.tf32 = tf32 and lack is None

    def run_iter(self, data_batch) -> None:
        """Take a step of training, see mmengine's loop."""
        with float32_products(exact=False) if self.tf32 else nullcontext():
            super().run_iter(data_batch)

    def _refuse_epochs(self, max_epochs: int) -> None:
        images, processes = len(self.dataloader.dataset), get_world_size()
        epoch = -(-images // (self.dataloader.batch_sampler.batch_size * processes))
        raise ValueError(
            f'train_cfg.max_epochs is {max_epochs!r}, and this loop counts iterations. An epoch of '
            f'{images} images is {epoch} iterations here: set train_cfg.max_iters='
            f'{epoch * max_epochs}, or write train_cfg=dict(_delete_=True, '
            f"type='EpochBasedTrainLoop', max_epochs={max_epochs}) with "
            "train_dataloader.sampler=dict(type='DefaultSampler', shuffle=True)"
        )


def settle_length(cfg: Config, options: Mapping | None) -> None:
    """Let the command line win over the config, and any loop over iterations follow ``max_iters``.

    A config whose loop counts epochs, or that does not train, stays as it is.

    Args:
        cfg: Config with the options in it.
        options: Options of the command line, by dotted name.

    Raises:
        SystemExit: If the command line gives two lengths, or the length is not valid.
    """
    train_cfg, options = cfg.get('train_cfg'), options or {}
    kind = str((train_cfg or {}).get('type'))
    if not train_cfg or 'EpochBased' in kind or train_cfg.get('by_epoch'):
        return
    own, asked = options.get('max_iters'), options.get('train_cfg.max_iters')
    if own is not None and asked is not None and own != asked:
        raise SystemExit(
            f'--cfg-options: max_iters={own} and train_cfg.max_iters={asked} are both the length '
            'of training: give one'
        )
    if cfg.get('max_iters') is None:
        return
    if asked is not None:
        cfg.max_iters = asked
    try:
        length = _length_of(cfg, None)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    if own is not None or 'OneFormerTrainLoop' not in kind:  # which reads it, and tells
        train_cfg.max_iters = length
