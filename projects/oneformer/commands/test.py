"""Evaluate a checkpoint on all tasks in one pass: ``oneformer test CONFIG CHECKPOINT``."""

import argparse
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from torch.distributed.elastic.multiprocessing.errors import record

from ..host.distributed import leave_processes
from ..host.errors import CheckpointError
from ..host.freed_memory import keep_freed_memory
from ..host.safe_io import write_json
from ..kernels.precision import PRECISIONS, check_precision
from ..tasks import TASKS
from ..training.evaluate import (
    evaluate,
    evaluate_token_matrix,
    matrix_table,
    show_pictures,
)
from .arguments import ToolParser
from .run_arguments import add_run_arguments, load_config


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(prog=prog, description='Evaluate a OneFormer on all tasks in one pass')
    add_run_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file or URL, or folder of Hugging Face')
    parser.add_argument('--tasks', nargs='+', choices=TASKS, help='what to predict')
    parser.add_argument(
        '--token-matrix',
        action='store_true',
        help='score every task under every task token and print the table',
    )
    parser.add_argument(
        '--official',
        action='store_true',
        help='score against the official files (official_evaluator of the config)',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='mIoU of several scales and flips of each image (tta of the config)',
    )
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        help='number format of the network; predictions and scores are made in float32 (of the '
        'config, else fp32)',
    )
    parser.add_argument('--per-class', action='store_true', help='also tell the numbers per class')
    parser.add_argument('--out-json', help='write the metrics, in percent, to this file')
    parser.add_argument(
        '--out-dir', help='write result files to this folder (format_evaluator of the config)'
    )
    parser.add_argument(
        '--format-only',
        action='store_true',
        help='only write result files: no scores, and no ground truth is needed',
    )
    parser.add_argument('--show-dir', help='draw ground truth and predictions into this folder')
    parser.add_argument(
        '--score-workers',
        type=int,
        help='processes that score while the network predicts (with a GPU up to 4, else 0)',
    )
    return parser


def parse_args(argv: Sequence[str] | None, prog: str | None) -> argparse.Namespace:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    others = ('tasks', 'official', 'tta', 'per_class', 'out_dir', 'format_only', 'show_dir')
    given = [f'--{name.replace("_", "-")}' for name in others if getattr(args, name)]
    if args.token_matrix and given:
        parser.error(f'--token-matrix scores all tasks and does nothing else: drop {given}')
    if args.tta and args.tasks not in (None, ['semantic']):
        parser.error('--tta is for the semantic task: drop --tasks')
    if args.score_workers is not None and args.score_workers < 0:
        parser.error(f'--score-workers must be 0 or more, not {args.score_workers}')
    if args.format_only and not args.out_dir:
        parser.error('--format-only needs --out-dir')
    if args.format_only and (args.official or args.per_class or args.out_json):
        parser.error('--format-only gives no scores: drop --official, --per-class and --out-json')
    return args


def report(metrics: dict, args: argparse.Namespace) -> None:
    """Print the metrics, and write them if asked to."""
    if args.token_matrix:
        print(matrix_table(metrics))
    else:
        for name, value in metrics.items():
            if name != 'per_class':  # these tables are in the log
                print(f'{name}: {value:.2f}')
    if args.out_json:
        write_json(args.out_json, metrics)


def settle_precision(cfg: Config, precision: str | None) -> None:
    """Let the network run in a precision, None for the config's.

    Raises:
        SystemExit: If the device of evaluation does not have it.
    """
    option = '--precision'
    if precision is not None:
        cfg.model.test_cfg.precision = precision
    else:
        precision = cfg.model.test_cfg.get('precision')
        option = 'model.test_cfg.precision of the config'
    if precision is not None:
        try:
            check_precision(precision, get_device(), option)
        except ValueError as error:
            raise SystemExit(f'error: {error}') from None


@record  # torchrun then ends with the error of the process that failed first
def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(argv, prog)
    keep_freed_memory()
    cfg = load_config(args)
    settle_precision(cfg, args.precision)
    if args.show_dir:
        show_pictures(cfg, args.show_dir)
    if args.score_workers is not None:
        cfg.score_workers = args.score_workers
    try:
        if args.token_matrix:
            metrics = evaluate_token_matrix(cfg, args.checkpoint)
        else:
            metrics = evaluate(
                cfg,
                args.checkpoint,
                args.tasks,
                score=not args.format_only,
                official=args.official,
                per_class=args.per_class,
                tta=args.tta,
                out_dir=args.out_dir,
            )
    except CheckpointError as error:
        raise SystemExit(f'error: {error}') from error
    if is_main_process():
        report(metrics, args)
    leave_processes()
