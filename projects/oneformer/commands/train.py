"""Train a model: ``oneformer train CONFIG``."""

from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.errors import record

from ..host.checkpoint_files import require_writable, resume_newest
from ..host.distributed import leave_processes
from ..host.errors import CheckpointError
from ..host.freed_memory import keep_freed_memory
from ..host.learning_rate import scale_learning_rate
from ..host.precision import AMP, allow_tf32, use_mixed_precision
from ..host.stopping import train
from ..training.banner import dry_run
from ..training.console import build_runner
from .arguments import ToolParser
from .run_arguments import (
    add_run_arguments,
    leave_out_amp_settings,
    load_config,
    use_batch_norm_without_gpu,
    use_float32_without_gpu,
)


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(prog=prog, description='Train a OneFormer')
    add_run_arguments(parser)
    parser.add_argument(
        '--amp',
        nargs='?',
        const='fp16',
        choices=sorted(AMP),
        help='train in mixed precision, without a value in fp16',
    )
    parser.add_argument(
        '--tf32',
        action='store_true',
        help='let matrix products of float32 use TF32, also those that --amp leaves in float32',
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
    return parser


@record  # torchrun then ends with the error of the process that failed first
def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = make_parser(prog).parse_args(argv)
    keep_freed_memory()
    cfg = load_config(args)
    if args.amp:
        use_mixed_precision(cfg, args.amp)
    if args.tf32:
        allow_tf32(cfg)
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
    leave_out_amp_settings(cfg)
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
