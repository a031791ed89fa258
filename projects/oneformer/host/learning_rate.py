"""Scale the learning rate with the number of images that a step sees."""

import os

from mmengine.config import Config
from mmengine.logging import print_log


def scale_learning_rate(cfg: Config) -> None:
    """Apply ``auto_scale_lr`` if it is enabled: in proportion to the images per step.

    mmengine's own rule leaves accumulated batches out, so the rate in the config is changed here,
    and that rule is switched off. The config that a run writes down then shows the rate it used.
    """
    rule = cfg.get('auto_scale_lr')
    if not rule or not rule.get('enable'):
        return
    processes = 1 if cfg.get('launcher', 'none') == 'none' else int(os.environ['WORLD_SIZE'])
    accumulated = cfg.optim_wrapper.get('accumulative_counts', 1)
    images = processes * cfg.train_dataloader.batch_size * accumulated
    optimizer = cfg.optim_wrapper.optimizer
    # the config that a run has written down is scaled already
    base = rule.get('scaled_from', optimizer.lr)
    rate = base * images / rule.base_batch_size
    if rate != base:
        print_log(
            f'learning rate {rate:g} instead of {base:g}: a step sees {images} images, '
            f'and the config is for {rule.base_batch_size}',
            logger='current',
        )
    rule.scaled_from, optimizer.lr = base, rate
    rule.enable = False
