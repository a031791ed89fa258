"""Training that continues exactly after an interruption.

A checkpoint of mmengine has weights, optimizer, schedules and curves. Added here, as ``progress``,
are the random states of all processes and what the order of the data depends on.
"""

import logging
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from .averaging import leave_averages
from .checkpoint_files import DurableBackend, durable_backend, remove_unfinished
from .late_loading import leave_out_trained, skipping_sampler
from .optimizer_state import make_loadable
from .precision import describe_precision
from .rescheduling import follow_config
from .runner_state import accumulated_iterations
from .seeding import SeededIndices, SeededSamples, random_states, restore_random_states


def _warn(message: str) -> None:
    print_log(message, 'current', logging.WARNING)


def _batch_size(loader: DataLoader) -> int:
    return loader.batch_sampler.batch_size


def _run_settings(runner: Runner) -> dict[str, int | str]:
    """Settings, beside the config's numbers, that must stay for training to continue exactly."""
    loader = runner.train_dataloader
    return dict(
        processes=get_world_size(),
        batch_size=_batch_size(loader),
        images=len(loader.dataset),
        accumulative_counts=accumulated_iterations(runner),
        precision=describe_precision(runner),
    )


def _validation_is_due(loop) -> bool:
    """Whether a training loop between two iterations has to validate before the next one."""
    loop._decide_current_val_interval()
    if isinstance(loop, IterBasedTrainLoop):
        done, end = loop.iter, loop.max_iters
    elif loop.iter == loop.epoch * len(loop.dataloader):
        done, end = loop.epoch, loop.max_epochs
    else:
        return False
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)


@HOOKS.register_module()
class ResumableCheckpointHook(CheckpointHook):
    """mmengine's hook, with checkpoints from which training continues exactly.

    * A file is there in full or not at all, and is removed only when its successor is there. So
      there may be one more than ``max_keep_ckpts`` for a moment.
    * Random states of all processes are saved. Each training sample is seeded by its place in the
      stream of samples, and validation leaves the random states as they were, so what workers or
      validation draw does not matter to training.
    * A validation that was due after the checkpoint is done when training continues.

    Args:
        **kwargs: Arguments of mmengine's hook.
    """

    # mmengine's
    backend_args: dict | None
    keep_ckpt_ids: list

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self._resumed: Mapping | None = (
            None  # progress in the checkpoint that training resumes from
        )
        self._progress: dict | None = None  # progress for the checkpoint about to be written
        self._before_val: dict | None = None  # random states while validation runs
        self._place: dict | None = None  # epoch and iteration of that checkpoint
        self._saved_iter = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: MutableMapping) -> None:
        """Keep the progress in the checkpoint until the runner has resumed the rest."""
        if runner._resume:
            self._resumed = checkpoint.get('progress') or {}
            path = getattr(runner, '_load_from', None) or 'the checkpoint'
            make_loadable(checkpoint.get('optimizer', {}), runner.optim_wrapper, path)
            leave_averages(runner, checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Seed samples by their place, and restore the order of the data."""
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = durable_backend(self.out_dir or runner.work_dir)
        super().before_train(runner)
        if is_main_process():
            for folder in {runner.work_dir, self.out_dir}:
                if Path(folder).is_dir():
                    remove_unfinished(folder)
        loader, accumulated = runner.train_dataloader, accumulated_iterations(runner)
        if not isinstance(loader.dataset, SeededSamples):
            _warn(
                f'a {type(loader.dataset).__name__} does not seed its samples by their place: '
                'resumed training will see other crops and flips than without the interruption'
            )
        for name, iterations in self._iterations_between_saves(runner).items():
            if iterations % accumulated:
                _warn(
                    f'{name} is {iterations} iterations, which is not a multiple of '
                    f'accumulative_counts={accumulated}: training resumed from such a checkpoint '
                    'will lack the gradients that were accumulated'
                )
        self._placed = loader.batch_sampler.sampler = SeededIndices(loader.batch_sampler.sampler)
        # or each new iterator would draw from the generator of the process
        loader.generator = torch.Generator()
        if self._resumed is not None:
            follow_config(runner)
            self._restore(runner, self._resumed)

    def _iterations_between_saves(self, runner: Runner) -> dict[str, int]:
        """Number of iterations between checkpoints, by the option that sets it."""
        loop, epoch = runner.train_loop, len(runner.train_dataloader)
        counts = {}
        if self.interval > 0:
            counts['checkpoint.interval'] = self.interval * (epoch if self.by_epoch else 1)
        if self.save_best and runner.val_loop is not None:  # which saves the newest once more
            by_iter = isinstance(loop, IterBasedTrainLoop)
            counts['train_cfg.val_interval'] = loop.val_interval * (1 if by_iter else epoch)
        return counts

    def _restore(self, runner: Runner, saved: Mapping) -> None:
        """Restore the progress of a checkpoint; warn of what one of another hook lacks."""
        if not saved:
            _warn(
                f'{runner._load_from} has no random states and no seed of the data order: training '
                'goes on with other random numbers and another order than without the interruption'
            )
            return
        self._placed.sampler.seed = saved['sampler_seed']
        before, now = saved['circumstances'], _run_settings(runner)
        changed = [f'{k} was {before[k]} and is {now[k]}' for k in now if before[k] != now[k]]
        if changed:
            _warn(
                f'{runner._load_from} was written in a training of other settings: '
                f'{", ".join(changed)}. So it does not go on as it would have without the '
                'interruption'
            )
        if before['processes'] == now['processes']:
            restore_random_states(saved['random_states'][get_rank()])
        else:
            _warn('the random states are of another number of processes: they are drawn anew')
        missed = not saved['validated'] and runner.val_loop is not None
        if missed and _validation_is_due(runner.train_loop):
            runner.val_loop.run()

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the position of the next sample in the stream, or in the epoch."""
        loop, loader, placed = runner.train_loop, runner.train_dataloader, self._placed
        if isinstance(loop, IterBasedTrainLoop):
            # the loop lets the others draw all that they have drawn before
            done = loop.iter if skipping_sampler(loader) else 0
            leave_out_trained(loop)
        else:
            placed.epoch = loop.epoch
            done = loop.iter - loop.epoch * len(loader)
            placed.skipped = done * _batch_size(loader)
        placed.position = done * _batch_size(loader)

    def before_val(self, runner: Runner) -> None:
        """Keep the random states, which validation changes."""
        self._before_val = random_states()

    def after_val(self, runner: Runner) -> None:
        """Restore the random states."""
        if self._before_val is not None:
            restore_random_states(self._before_val)
        self._before_val = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: MutableMapping) -> None:
        """Add the progress; the best checkpoint, which has no optimizer, is written without it."""
        if self._before_val is not None:
            # FlexibleRunner adds 1 as if the iteration were still to be counted
            checkpoint['meta'].update(epoch=runner.epoch, iter=runner.iter)
        elif self._place is not None:
            checkpoint['meta'].update(self._place)
        if self._progress is not None:
            checkpoint['progress'] = self._progress

    def _save_checkpoint_with_step(self, runner: Runner, step: int | str, meta: dict) -> None:
        """Save as mmengine does, but remove nothing before its successor is there."""
        hub, kept = runner.message_hub, []
        if self.max_keep_ckpts > 0:
            kept = [*(other for other in self.keep_ckpt_ids if other != step), step]
            # in the file also what goes afterwards, so that resuming removes it if this is killed
            hub.update_info('keep_ckpt_ids', kept)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        hub.update_info('last_ckpt', self.last_ckpt)
        self._progress = dict(
            random_states=all_gather_object(self._before_val or random_states()),  # of training
            sampler_seed=self._placed.sampler.seed,
            circumstances=_run_settings(runner),
            validated=self._before_val is not None,
        )
        place = self._place = dict(meta)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._saved_iter = place['iter'] if self._before_val is None else runner.iter
        self._progress = self._place = None
        if is_main_process():
            pointer = os.path.join(runner.work_dir, 'last_checkpoint')
            DurableBackend().put(self.last_ckpt.encode(), pointer)
        if self.max_keep_ckpts > 0:
            for other in kept[: -self.max_keep_ckpts]:
                self._remove(
                    self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(other))
                )
            self.keep_ckpt_ids = kept[-self.max_keep_ckpts :]
            hub.update_info('keep_ckpt_ids', self.keep_ckpt_ids)

    def _remove(self, path: str) -> None:
        """Remove a checkpoint of this run; the best one of the run that it resumed stays."""
        is_ours = os.path.abspath(os.path.dirname(path)) == os.path.abspath(self.out_dir)
        if is_main_process() and is_ours and self.file_backend.isfile(path):
            self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: Mapping) -> None:
        """Save as mmengine does, but remove the old best checkpoint after the new one is there."""
        if not self.save_best:
            return
        if len(self.key_indicators) > 1:
            owner, keys = self.best_ckpt_path_dict, self.key_indicators
        else:
            owner, keys = self.__dict__, ['best_ckpt_path']
        old = {key: owner.get(key) for key in keys}
        owner.update(dict.fromkeys(keys))  # or mmengine would remove them first
        super()._save_best_checkpoint(runner, metrics)
        for key, path in old.items():
            if owner[key] is None:
                owner[key] = path
            elif path not in (None, owner[key]):
                self._remove(path)

    def after_train(self, runner: Runner) -> None:
        """Save the end of a training that was stopped early, like the end of any other."""
        stopped = getattr(runner.train_loop, 'stop_training', False)
        if stopped and self.save_last and self._saved_iter != runner.iter:
            place = dict(epoch=runner.epoch, iter=runner.iter)
            step = runner.epoch if self.by_epoch else runner.iter
            runner.logger.info(f'Saving checkpoint at {runner.iter} iterations')
            self._save_checkpoint_with_step(runner, step, place)
        super().after_train(runner)

    def save_now(self, runner: Runner) -> None:
        """Save after the current iteration, unless that was done."""
        done = runner.iter + 1
        if self._saved_iter != done:
            step = f'{runner.epoch}_iter_{done}' if self.by_epoch else done
            self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=done))
