"""See where a skipped step fails: ``oneformer replay FILE [CONFIG]``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import DictAction
from mmengine.device import get_device
from mmengine.registry import init_default_scope

from ..host.bad_steps import read_step, replay_batch
from ..host.errors import CheckpointError
from ..host.float32_products import lack_of_tf32
from ..weights import fit, read
from .arguments import ToolParser, config_file
from .run_arguments import read_config, use_batch_norm_without_gpu

MOST_LINES = 5


def make_parser(prog: str | None = None) -> ToolParser:
    parser = ToolParser(
        prog=prog,
        description='Run a step that training skipped again, forward and backward, with the '
        'weights and random numbers that it had, and print where numbers stop being finite.',
    )
    parser.add_argument('file', type=Path, help='work_dir/bad_steps/iter_N/rankR.pth')
    parser.add_argument(
        'config', nargs='?', type=config_file, help='(the one that training wrote to work_dir)'
    )
    parser.add_argument('--weights', help='checkpoint (the weights saved with the step)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='overrides')
    return parser


def parse_args(argv: Sequence[str] | None, prog: str | None) -> argparse.Namespace:
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if not args.file.is_file():
        parser.error(f'there is no file {args.file}')
    if args.config is None:
        configs = sorted(args.file.resolve().parents[2].glob('*.py'))
        if len(configs) != 1:
            parser.error(
                f'{args.file.resolve().parents[2]} has {len(configs)} configs: name the one of the '
                'training after the file'
            )
        args.config = str(configs[0])
    return args


def mixed_precision(cfg) -> torch.dtype | None:
    """Precision of the forward pass, None for float32."""
    if cfg.optim_wrapper.type != 'AmpOptimWrapper' or not torch.cuda.is_available():
        return None
    return getattr(torch, cfg.optim_wrapper.get('dtype') or 'float16')


def uses_tf32(cfg) -> bool:
    """Whether products of float32 use TF32, as in training on a GPU that has it."""
    return bool(cfg.train_cfg.get('tf32')) and lack_of_tf32(get_device()) is None


def first_lines(title: str, names: list[str]) -> str:
    """The first of some names, in their order, under a title."""
    more = [f'  ... {len(names) - MOST_LINES} more'] if len(names) > MOST_LINES else []
    lines = [f'  {name}' for name in names[:MOST_LINES]] or ['  none']
    return '\n'.join([f'{title}:', *lines, *more])


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    args = parse_args(argv, prog)
    try:
        step = read_step(args.file)
        weights = args.weights or args.file.resolve().parents[1] / step['weights']
        if not args.weights and not weights.is_file():
            raise FileNotFoundError(f'there is no {weights}: give a checkpoint with --weights')
        cfg = read_config(args)
        use_batch_norm_without_gpu(cfg)
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        model = MODELS.build(cfg.model)
        # the weights of the step may be what is not finite
        fitted = fit(read(weights, finite=False), model, 'exact')
    except (CheckpointError, OSError) as error:
        raise SystemExit(f'error: {error}') from None
    model.load_state_dict(fitted.tensors)
    model = model.to(get_device()).train()
    print(f'iteration {step["iteration"]}, process {step["rank"]} of {step["world_size"]}')
    if step['world_size'] > 1:
        print('the losses differ from those of training where they were shared between processes')
    for number, batch in enumerate(step['batches'], start=1):
        if len(step['batches']) > 1:
            print(f'accumulated batch {number} of {len(step["batches"])}')
        for image in batch['images']:
            metainfo = image['metainfo']
            print(f'  {metainfo.get("img_path")} ({metainfo.get("task")})')
        replay = replay_batch(model, batch, mixed_precision(cfg), uses_tf32(cfg))
        for name, value in replay.losses.items():
            print(f'  {name} {value:.4f} (in training {batch["losses"].get(name, 0):.4f})')
        print(first_lines('modules with an output that is not finite, first', replay.activations))
        print(first_lines('modules with such a gradient, first in backward', replay.gradients))
        print(first_lines('parameters with such a gradient', replay.parameters))
        if replay.anomaly:
            print(f'autograd: {replay.anomaly}')
