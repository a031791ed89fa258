"""Common code of the command line tools: arguments, and configs adapted to this machine."""

import argparse
import os
import os.path as osp

import torch
from mmengine.config import Config, DictAction
from mmengine.logging import print_log

from ..host.distributed import init_cpu_processes
from ..host.launch import check_launch, slurm_variables
from ..host.pinning import use_pinned_batches
from ..host.train_loop import settle_length
from ..host.unread_settings import nested_values
from ..training.recipe_options import overriding_settings, settle_recipe
from ..weights import use_safe_loaders
from .arguments import config_file

# default hooks that mmengine adds where a config has none of this name
_ADDED = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
# arguments of mmengine's AmpOptimWrapper that its OptimWrapper refuses
_OF_AMP = ('dtype', 'loss_scale', 'use_fsdp')


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config and its overrides, see ``read_config``."""
    parser.add_argument('config', type=config_file, help='config file, or its name in the zoo')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='overrides, e.g. model.test_cfg.iou_thr=0.7 train_dataloader.batch_size=1',
    )


def read_config(args: argparse.Namespace) -> Config:
    """Read the config with its overrides."""
    cfg = Config.fromfile(args.config)
    own, overriding = set(cfg), overriding_settings(args.config, cfg)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    settle_length(cfg, args.cfg_options)
    settle_recipe(cfg, {**overriding, **(args.cfg_options or {})}, own)
    leave_out_hooks(cfg)
    return cfg


def leave_out_hooks(cfg: Config) -> None:
    """Let ``default_hooks.NAME=None`` leave out any hook, as mmengine does for those it adds."""
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None and name not in _ADDED]:
        del hooks[name]


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of mmdet's tools that training and testing share."""
    add_config_arguments(parser)
    parser.add_argument('--work-dir', help='folder of logs and results')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    parser.add_argument(
        '--trust-pickle',
        action='store_true',
        help='load checkpoints of more than mmengine saves: they may run any code',
    )


def load_config(args: argparse.Namespace) -> Config:
    """Read the config, apply the arguments, join other processes, and adapt to the machine."""
    check_launch(args.launcher, os.environ)
    if args.launcher == 'slurm':
        os.environ.update(slurm_variables(os.environ, torch.cuda.device_count()))
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args)
    cfg.launcher = args.launcher
    # priority: argument, config, name of the config
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    if osp.exists(cfg.work_dir) and not osp.isdir(cfg.work_dir):
        raise SystemExit(f'the work folder {cfg.work_dir} is a file: give a folder by --work-dir')
    init_cpu_processes(cfg.launcher)
    use_pinned_batches(cfg)
    use_safe_loaders(trust=args.trust_pickle)
    return cfg


def use_batch_norm_without_gpu(cfg: Config) -> None:
    """Replace SyncBatchNorm, which refuses a CPU, by BatchNorm if there is no GPU, and log it.

    Their parameters have the same names.
    """
    if torch.cuda.is_available():
        return
    parts = [part for part in nested_values(cfg.model) if isinstance(part, dict)]
    synced = [part for part in parts if part.get('type') == 'SyncBN']
    for norm in synced:
        norm['type'] = 'BN'
    if synced:
        print_log(
            'no GPU: training with BatchNorm instead of SyncBatchNorm, so each process takes '
            'statistics of its own images',
            logger='current',
        )


def use_float32_without_gpu(cfg: Config) -> None:
    """Train in float32 if there is no accelerator, which mmengine's AMP needs, and log it."""
    if cfg.optim_wrapper.type == 'AmpOptimWrapper' and not torch.cuda.is_available():
        print_log('no GPU: training in float32 instead of mixed precision', logger='current')
        cfg.optim_wrapper.type = 'OptimWrapper'
        for key in _OF_AMP:
            cfg.optim_wrapper.pop(key, None)


def leave_out_amp_settings(cfg: Config) -> None:
    """Leave out settings of mixed precision where the config trains in float32, and log it.

    A config of mixed precision keeps them if ``optim_wrapper.type=OptimWrapper`` is set over it.
    """
    kept = [key for key in _OF_AMP if key in cfg.optim_wrapper]
    if cfg.optim_wrapper.type != 'OptimWrapper' or not kept:
        return
    for key in kept:
        del cfg.optim_wrapper[key]
    print_log(
        f'optim_wrapper.type is OptimWrapper, which trains in float32: {", ".join(kept)} of '
        'optim_wrapper, for mixed precision, left out',
        logger='current',
    )
