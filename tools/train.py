"""Train a model: ``python tools/train.py CONFIG``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from torch.distributed.elastic.multiprocessing.errors import record  # noqa: E402

from oneformer.host.checkpoint_files import require_writable, resume_newest  # noqa: E402
from oneformer.host.distributed import leave_processes  # noqa: E402
from oneformer.host.errors import CheckpointError  # noqa: E402
from oneformer.host.learning_rate import scale_learning_rate  # noqa: E402
from oneformer.host.precision import AMP, use_mixed_precision  # noqa: E402
from oneformer.host.stopping import train  # noqa: E402
from oneformer.training.arguments import ToolParser  # noqa: E402
from oneformer.training.banner import dry_run  # noqa: E402
from oneformer.training.cli import (  # noqa: E402
    add_run_arguments,
    load_config,
    use_batch_norm_without_gpu,
    use_float32_without_gpu,
)
from oneformer.training.console import build_runner  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = ToolParser(description='Train a OneFormer')
    add_run_arguments(parser)
    parser.add_argument(
        '--amp',
        nargs='?',
        const='fp16',
        choices=sorted(AMP),
        help='train in mixed precision, without a value in fp16',
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='compile the backbone: a slow start, then faster on a GPU',
    )
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


@record  # torchrun then ends with the error of the process that failed first
def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.amp:
        use_mixed_precision(cfg, args.amp)
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise SystemExit(
                f'--auto-scale-lr: {args.config} does not say auto_scale_lr.base_batch_size'
            )
        cfg.auto_scale_lr.enable = True
    if args.compile:
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), dict(type='CompileBackbone')]
    scale_learning_rate(cfg)
    if args.resume not in (None, 'auto'):
        cfg.resume, cfg.load_from = True, args.resume
    use_float32_without_gpu(cfg)
    use_batch_norm_without_gpu(cfg)
    if args.dry_run:
        try:
            dry_run(cfg)
        except CheckpointError as error:
            raise SystemExit(f'training would stop: {error}') from error
    else:
        require_writable(cfg.work_dir)
        runner = build_runner(cfg)
        if args.resume == 'auto' or (cfg.get('resume') and cfg.get('load_from') is None):
            resume_newest(runner)
        train(runner)
    leave_processes()


if __name__ == '__main__':
    main()
