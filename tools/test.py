"""Evaluate a checkpoint on all tasks in one pass: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from mmengine.dist import is_main_process  # noqa: E402

from oneformer.engine.cli import add_run_arguments, load_config  # noqa: E402
from oneformer.engine.distributed import leave_processes  # noqa: E402
from oneformer.engine.evaluation import (  # noqa: E402
    evaluate,
    evaluate_token_matrix,
    matrix_table,
)
from oneformer.safe_io import write_json  # noqa: E402
from oneformer.tasks import TASKS  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a OneFormer on all tasks in one pass')
    add_run_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--tasks', nargs='+', choices=TASKS, help='what to answer')
    parser.add_argument(
        '--token-matrix',
        action='store_true',
        help='score every task under every task token and print the table',
    )
    parser.add_argument('--out-json', help='write the metrics, in percent, to this file')
    parser.add_argument('--show-dir', help='draw ground truth and answers into this folder')
    args = parser.parse_args()
    if args.token_matrix and (args.tasks or args.show_dir):
        parser.error(
            '--token-matrix scores all tasks and draws nothing: drop --tasks and --show-dir'
        )
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.show_dir:
        # absolute, since the hook would put it below itself again with every photo
        folder = str(Path(args.show_dir).resolve())
        cfg.default_hooks.visualization.update(draw=True, test_out_dir=folder)
    if args.token_matrix:
        metrics = evaluate_token_matrix(cfg, args.checkpoint)
    else:
        metrics = evaluate(cfg, args.checkpoint, args.tasks)
    main_process = is_main_process()
    leave_processes()
    if not main_process:
        return
    if args.token_matrix:
        print(matrix_table(metrics))
    else:
        print('\n'.join(f'{name}: {value:.2f}' for name, value in metrics.items()))
    if args.out_json:
        write_json(args.out_json, metrics)


if __name__ == '__main__':
    main()
