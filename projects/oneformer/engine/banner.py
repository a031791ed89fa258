"""What a run starts with, told in the first lines of its log."""

import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from tempfile import TemporaryDirectory

import torch
from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner

from ..datasets.written_ids import tell_other_numbers
from ..models.deformable_attention import choose_path
from .limits import warn_of_scoring_limits, warn_of_training_limits
from .runner_state import accumulated_iterations, bare_model

_ATTENTIONS = {
    'cuda': "mmcv's CUDA operator",
    'cpu': 'bags of rows',
    'torch': 'plain torch, several times slower',
}


def _count(number: int, noun: str, ending: str = 's') -> str:
    return f'{number} {noun}{"" if number == 1 else ending}'


def describe_devices(devices: Sequence[tuple[str, str]]) -> str:
    """Count what the processes compute on.

    Args:
        devices: Node and device name of each process.
    """
    nodes = _count(len({node for node, _ in devices}), 'node')
    counts = Counter(name for _, name in devices)
    names = ', '.join(f'{count} x {name}' for name, count in counts.items())
    return f'{names} on {nodes}'


def describe_batch(batch_size: int, processes: int, accumulated: int = 1) -> str:
    """Images of an optimizer step, and what they are the product of."""
    factors = f'{batch_size} per process x {_count(processes, "process", "es")}'
    if accumulated > 1:
        factors += f' x {accumulated} accumulated'
    return f'{batch_size * processes * accumulated} ({factors})'


def _is_scaled(used: float, configured: float) -> bool:
    return abs(used - configured) > 1e-6 * configured


def describe_learning_rate(used: float, configured: float, base: int | None) -> str:
    """Tell the learning rate, and whether it was scaled to the batch.

    Args:
        used: Of the optimizer.
        configured: Of the config.
        base: Number of images that the config's learning rate is for, if it says so.
    """
    if _is_scaled(used, configured):
        return f'{used:g} (scaled from {configured:g}, which is for {base} images)'
    if base is None:
        return f'{used:g} (of the config, not scaled)'
    return f'{used:g} (of the config, which is for {base} images; not scaled)'


def describe_precision(runner: Runner) -> str:
    """The number format of the model, and that of autocast."""
    weights = str(next(runner.model.parameters()).dtype).removeprefix('torch.')
    if not isinstance(runner.optim_wrapper, AmpOptimWrapper):
        return weights
    autocast = runner.optim_wrapper.cast_dtype or torch.get_autocast_dtype('cuda')
    return f'{weights} weights under {str(autocast).removeprefix("torch.")} autocast'


def _describe_machine(runner: Runner) -> dict[str, str]:
    """Processes, devices and the path of deformable attention; called by all processes."""
    device = next(runner.model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'
    gathered = all_gather_object((socket.gethostname(), name))
    path, reason = choose_path(device)
    return {
        'processes': f'{runner.world_size} (launcher {runner.cfg.get("launcher", "none")})',
        'devices': describe_devices(gathered),
        'deformable attention': f'{_ATTENTIONS[path]} ({reason})',
    }


def _log(runner: Runner, title: str, facts: dict[str, str], warnings: Sequence[str]) -> None:
    if not is_main_process():
        return
    lines = [title, *(f'  {name + ":":22}{value}' for name, value in facts.items())]
    runner.logger.info('\n'.join(lines))
    for warning in warnings:
        runner.logger.warning(warning)


def training_warnings(
    images: int, base: int | None, scaled: bool, candidates: int | None, idle_gpus: int
) -> list[str]:
    """What rarely is meant, each with what to do about it.

    Args:
        images: Of an optimizer step.
        base: Number of images that the config's learning rate is for, if it says so.
        scaled: Whether the learning rate was scaled to the batch.
        candidates: Images that the contrastive loss tells each image from, itself included; None
            without that loss.
        idle_gpus: GPUs that are visible and that no process uses.
    """
    warnings = []
    if base not in (None, images) and not scaled:
        warnings.append(
            f'the learning rate is for {base} images per step, and this run has {images}: pass '
            '--auto-scale-lr, or set optim_wrapper.optimizer.lr'
        )
    if candidates == 1:
        warnings.append(
            'the contrastive loss is 0 and the text branch learns nothing: each image is told from '
            'the others of the batch, over all processes, and there is one. Accumulating gradients '
            'does not change that; a larger batch, more processes, or '
            'model.contrastive_loss.memory=64 do (see docs/small_machines.md)'
        )
    if idle_gpus > 0:
        warnings.append(
            f'{idle_gpus} more GPUs are visible and not used: start by tools/dist_train.sh'
        )
    return warnings


def log_training(runner: Runner) -> None:
    """Log what training starts with, and warn of what rarely is meant.

    All processes call it. The optimizer and the data loader are built.
    """
    processes, loader = runner.world_size, runner.train_dataloader
    # a loader of batches has no batch size of its own
    batch_size = loader.batch_size or loader.batch_sampler.batch_size
    accumulated = accumulated_iterations(runner)
    images = batch_size * processes * accumulated
    scaling = runner.cfg.get('auto_scale_lr') or {}
    base = scaling.get('base_batch_size')
    # the largest group is the one that the config's learning rate is of; a warm-up has set lr
    groups = runner.optim_wrapper.optimizer.param_groups
    used = max(group.get('initial_lr', group['lr']) for group in groups)
    configured = scaling.get('scaled_from', runner.cfg.optim_wrapper.optimizer.lr)
    text_branch, candidates = 'none', None
    contrastive = getattr(bare_model(runner), 'contrastive_loss', None)
    if contrastive is not None:
        memory = getattr(contrastive, 'memory', 0)
        candidates = batch_size * processes + memory
        text_branch = f'contrastive loss over {_count(batch_size * processes, "image")}'
        text_branch += f' and a memory of {memory}' if memory else ''
    facts = {
        **_describe_machine(runner),
        'images per step': describe_batch(batch_size, processes, accumulated),
        'learning rate': describe_learning_rate(used, configured, base),
        'precision': describe_precision(runner),
        'text branch': text_branch,
    }
    warnings = training_warnings(
        images=images,
        base=base,
        scaled=_is_scaled(used, configured),
        candidates=candidates,
        idle_gpus=torch.cuda.device_count() - 1 if processes == 1 else 0,
    )
    _log(runner, 'Training starts with', facts, warnings)


def log_evaluation(runner: Runner) -> None:
    """Log what evaluation starts with; all processes call it."""
    facts = _describe_machine(runner)
    facts['images at a time'] = describe_batch(
        runner.test_dataloader.batch_size or 1, runner.world_size
    )
    _log(runner, 'Evaluation starts with', facts, [])


@HOOKS.register_module()
class StartBanner(Hook):
    """Logs processes, devices, batch, learning rate, precision and attention at the start."""

    priority = 'LOWEST'  # after the checkpoint was loaded

    def before_train(self, runner: Runner) -> None:
        """See ``log_training``."""
        log_training(runner)
        warn_of_training_limits(runner)
        if isinstance(runner.val_loop, BaseLoop):
            sets = runner.train_dataloader.dataset, runner.val_loop.dataloader.dataset
            tell_other_numbers(*(getattr(data, 'metainfo', {}) for data in sets))
            warn_of_scoring_limits(runner, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """See ``log_evaluation``."""
        log_evaluation(runner)
        warn_of_scoring_limits(runner, runner.test_loop)


class _DryRunEnds(Exception):
    """Leaves ``Runner.train`` before the first step."""


class _EndBeforeTraining(Hook):
    def before_train(self, runner: Runner) -> None:
        raise _DryRunEnds


def dry_run(cfg: Config) -> None:
    """Do all that training does before its first step, and remove what that has written.

    Args:
        cfg: Of a run, with a ``StartBanner`` among its hooks.
    """
    with TemporaryDirectory() as cfg.work_dir, suppress(_DryRunEnds):
        runner = RUNNERS.build(cfg)
        runner.register_hook(_EndBeforeTraining(), priority='LOWEST')
        runner.call_hook('before_init_weights')
        runner.train()
