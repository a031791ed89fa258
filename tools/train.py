"""Train a model: ``python tools/train.py CONFIG``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from mmengine.runner import Runner, find_latest_checkpoint  # noqa: E402

from oneformer.engine.banner import dry_run  # noqa: E402
from oneformer.engine.cli import (  # noqa: E402
    add_run_arguments,
    load_config,
    use_batch_norm_without_gpu,
    use_float32_without_gpu,
)
from oneformer.engine.distributed import leave_processes  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a OneFormer')
    add_run_arguments(parser)
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='continue from this checkpoint, or without a value from the newest in the work folder',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='do all but train, tell what a first start would start with, and write nothing',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.amp:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise SystemExit(
                f'--auto-scale-lr: {args.config} does not say auto_scale_lr.base_batch_size'
            )
        cfg.auto_scale_lr.enable = True
    use_float32_without_gpu(cfg)
    use_batch_norm_without_gpu(cfg)
    if args.dry_run:
        dry_run(cfg)
        leave_processes()
        return
    if args.resume == 'auto':
        # without a checkpoint this is the first start, from the weights that the config names
        newest = find_latest_checkpoint(cfg.work_dir)
        if newest is not None:
            cfg.resume, cfg.load_from = True, newest
    elif args.resume is not None:
        cfg.resume, cfg.load_from = True, args.resume
    Runner.from_cfg(cfg).train()
    leave_processes()


if __name__ == '__main__':
    main()
