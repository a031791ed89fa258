"""Facts at the start of a run, in the first lines of its log."""

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
from mmengine.runner import BaseLoop, Runner

from ..datasets.written_ids import tell_other_numbers
from ..host.precision import describe_precision
from ..host.run_plan import check_epochs, count, plan_facts
from ..host.runner_state import accumulated_iterations, bare_model
from ..host.schedule_check import examine_schedule
from ..host.schedules import LAYER
from ..host.unread_settings import unread_settings
from ..kernels.attention_paths import (
    PATHS,
    choose_path,
    has_deformable_attention,
    wanted_path,
)
from ..kernels.precision import PRECISIONS, check_precision, usable_precision
from .batch_facts import describe_batch, describe_learning_rate, is_scaled, training_warnings
from .console import DETAIL, build_runner
from .limits import warn_of_scoring_limits, warn_of_training_limits

_SLOW = f'{PATHS["torch"]}, several times slower'

# for the log file, and the screen of a dry run; other facts appear where they are of interest
_DETAILS = ('processes', 'deformable attention', 'test size', 'queries', 'precision', 'text branch')


def describe_devices(devices: Sequence[tuple[str, str]]) -> str:
    """Name and count the devices of the processes, of which it takes (node, device) each."""
    nodes = count(len({node for node, _ in devices}), 'node')
    counts = Counter(name for _, name in devices)
    names = ', '.join(f'{count} x {name}' for name, count in counts.items())
    return f'{names} on {nodes}'


def _describe_machine(runner: Runner) -> dict[str, str]:
    """Processes, devices and the path of deformable attention; called by all processes."""
    device = next(runner.model.parameters()).device
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'
    gathered = all_gather_object((socket.gethostname(), name))
    facts = {
        'processes': f'{runner.world_size} (launcher {runner.cfg.get("launcher", "none")})',
        'devices': describe_devices(gathered),
    }
    if has_deformable_attention(model := bare_model(runner)):
        path, reason = choose_path(device, wanted_path(model))
        attention = _SLOW if path == 'torch' else PATHS[path]
        facts['deformable attention'] = f'{attention} ({reason})'
    return facts


def _log(
    runner: Runner,
    title: str,
    facts: dict[str, str],
    warnings: Sequence[str],
    always: Sequence[str] = (),
) -> None:
    """Log the facts, those that the screen leaves out apart, and the warnings."""
    if not is_main_process():
        return
    lines = {name: f'  {name + ":":22}{value}' for name, value in facts.items()}
    shown = {'processes', *always} if runner.world_size > 1 else set(always)
    if facts.get('deformable attention', '').startswith(_SLOW):
        shown.add('deformable attention')
    details = [lines.pop(name) for name in _DETAILS if name in lines and name not in shown]
    runner.logger.info('\n'.join([title, *lines.values()]))
    if details:
        runner.logger.info('\n'.join([f'{title}, in detail', *details]), extra=DETAIL)
    for warning in warnings:
        runner.logger.warning(warning)


def _examine(runner: Runner, used: float) -> tuple[str, list[str]]:
    """The schedule from a rate in words, and settings that do not fit the run or are not read."""
    if not is_main_process():
        return '', []
    rates, warnings = examine_schedule(runner, used)
    told = ' and '.join(type(s).__name__ for s in runner.param_schedulers or ()) or 'none'
    if rates[runner.iter :]:
        told += f': {rates[runner.iter]:.3g} at iteration {runner.iter + 1}'
        told += f', {rates[-1]:.3g} at the last one, {len(rates)}'
    if runner.iter and not (runner.cfg.get('auto_scale_lr') or {}).get('enable'):
        planned = runner.cfg.optim_wrapper.optimizer.lr
        if is_scaled(used, planned):
            warnings.append(
                f'training goes on with the learning rate of its checkpoint, {used:g}, before '
                f'the schedule, and not with optim_wrapper.optimizer.lr={planned:g}: to use '
                'that, begin anew from its weights, by load_from without --resume'
            )
    return told, warnings + unread_settings(runner.cfg)


def _prediction_precision(runner: Runner) -> tuple[str, list[str]]:
    """The precision of ``test_cfg``, and warnings; ValueError if the device does not have it."""
    model = bare_model(runner)
    precision = (getattr(model, 'test_cfg', None) or {}).get('precision')
    if precision is None:
        return 'fp32', []
    device, option = next(model.parameters()).device, 'model.test_cfg.precision'
    check_precision(precision, device, option)
    precision, warning = usable_precision(precision, device, option)
    return precision, [] if warning is None else [warning]


def log_training(runner: Runner) -> None:
    """Log the facts at the start of training, and warn of settings that are rarely meant.

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
    heads = [group for group in groups if group.get(LAYER) is None] or groups
    used = max(group.get('initial_lr', group['lr']) for group in heads)
    configured = scaling.get('scaled_from', runner.cfg.optim_wrapper.optimizer.lr)
    warnings = check_epochs(runner)
    schedule, misfits = _examine(runner, used)
    text_branch, candidates = 'none', None
    contrastive = getattr(bare_model(runner), 'contrastive_loss', None)
    if contrastive is not None:
        memory = getattr(contrastive, 'memory', 0)
        candidates = batch_size * processes + memory
        text_branch = f'contrastive loss over {count(batch_size * processes, "image")}'
        text_branch += f' and a memory of {memory}' if memory else ''
    validated, slower = _prediction_precision(runner)
    in_validation = '' if validated == 'fp32' else f'; validation: {PRECISIONS[validated]}'
    facts = {
        **_describe_machine(runner),
        **plan_facts(runner, batch_size * processes),
        'images per step': describe_batch(batch_size, processes, accumulated),
        'learning rate': describe_learning_rate(used, configured, base),
        'schedule': schedule,
        'precision': describe_precision(runner) + in_validation,
        'text branch': text_branch,
    }
    warnings += training_warnings(
        images=images,
        base=base,
        scaled=is_scaled(used, configured),
        candidates=candidates,
        idle_gpus=torch.cuda.device_count() - 1 if processes == 1 else 0,
    )
    warnings += misfits + slower
    _log(runner, 'Training starts with', facts, warnings)


def log_evaluation(runner: Runner) -> None:
    """Log the facts at the start of evaluation; all processes call it."""
    facts = _describe_machine(runner)
    facts['images at a time'] = describe_batch(
        runner.test_dataloader.batch_size or 1, runner.world_size
    )
    precision, warnings = _prediction_precision(runner)
    facts['precision'] = PRECISIONS[precision]
    always = []
    if precision != 'fp32':
        facts['precision'] += ' in the network, predictions and scores in float32'
        always = ['precision']
    warnings += unread_settings(runner.cfg) if is_main_process() else []
    _log(runner, 'Evaluation starts with', facts, warnings, always)


@HOOKS.register_module()
class StartBanner(Hook):
    """Logs machine, plan of the run, batch and schedule, and warns of unusual settings."""

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
    """Run all steps of training before its first iteration, and remove the files they wrote.

    Args:
        cfg: Config of a run, with a ``StartBanner`` among its hooks.
    """
    if cfg.get('visualizer'):
        # others, of W&B or MLflow, write where they like
        cfg.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    with TemporaryDirectory() as cfg.work_dir, suppress(_DryRunEnds):
        runner = build_runner(cfg, details=True)
        runner.register_hook(_EndBeforeTraining(), priority='LOWEST')
        runner.call_hook('before_init_weights')
        runner.train()
