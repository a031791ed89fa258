"""Steps whose loss or gradient is not finite are skipped, reported, and kept for replay.

The original turns nan in gradients into 0 and continues; here such a step changes nothing.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from torch import Tensor, nn

from .bad_steps import pack_batch
from .runner_state import bare_model
from .safe_io import replacing
from .seeding import random_states
from .sharding import is_sharded

_MOST_SAVED = 20  # skipped steps of a work folder, with the weights of a model each
_MOST_NAMED = 3


@dataclass
class _Forward:
    """One batch since the last update."""

    data: Mapping  # as the data loader returned it
    random_state: dict  # before the forward pass
    is_finite: Tensor | None = None  # its loss, a bool without dimensions on the device
    losses: dict = field(default_factory=dict)

    def describe(self) -> dict:
        """Names of its losses that are not finite, and its images with their tasks."""
        return dict(
            is_finite=bool(self.is_finite),
            losses=[
                name
                for name, value in self.losses.items()
                if name != 'loss' and not _is_finite(value)
            ],
            images=[
                f'{sample.get("img_path", "?")} ({sample.get("task", "no task")})'
                for sample in self.data['data_samples']
            ],
        )


def _is_finite(value: Tensor | float) -> bool:
    return bool(torch.as_tensor(value).isfinite().all())


def _first(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ', '.join(names[:_MOST_NAMED]) + (f' and {more} more' if more > 0 else '')


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Norm of all gradients together, without dimensions, on their device."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm.full_tensor() if is_sharded(norm) else norm  # of a sharded model


def is_searching(wrapper: OptimWrapper) -> bool:
    """Whether gradients may overflow by the loss scale of float16, which then decreases.

    Does not hold if the scale is fixed, has come down to 1, or is not needed (bfloat16 has the
    range of float32). Reads the scale from the device.
    """
    scaler = getattr(wrapper, 'loss_scaler', None)
    return (
        scaler is not None
        and scaler.is_enabled()
        and wrapper._scale_update_param is None
        and wrapper.cast_dtype != torch.bfloat16
        and scaler.get_scale() > 1
    )


@HOOKS.register_module()
class FiniteSteps(Hook):
    """Skips the updates whose loss or gradient is not finite, on all processes alike.

    It stands between the backward pass and the step of any ``OptimWrapper``, with or without a
    loss scale and accumulated gradients; with these, an update is skipped as a whole. A skipped
    step leaves weights, optimizer, running statistics and the memory of the contrastive loss as
    they were, and counts in the schedule. Its losses stay out of the log, whose means they would
    make nan. ``work_dir/bad_steps/iter_N`` keeps the batch of each process and its random state
    for ``oneformer replay``, and the weights, those of several steps in a row once.

    Cost: the norm of the gradients, one sum of two numbers over the processes, and one read from
    the device for each update, after the backward pass. Of a step's two waits it is the second; the
    first is for the costs of the matching.

    Without ``clip_grad``, which logs it too, ``grad_norm`` is logged here.

    Args:
        stop_after: Number of skipped updates in a row that stops the training.
    """

    priority = 'HIGHEST'  # before RuntimeInfoHook puts the losses into the log

    def __init__(self, stop_after: int = 10) -> None:
        if stop_after < 1:
            raise ValueError(f'FiniteSteps.stop_after is {stop_after}: it must be at least 1')
        self.stop_after = stop_after
        self.skipped_in_a_row = 0
        self.forwards: list[_Forward] = []
        self.bad_gradients: list[str] | None = None  # of a step just skipped

    def before_train(self, runner) -> None:
        """Replace ``backward`` and ``step`` of the optimizer wrapper by ones that check."""
        wrapper = runner.optim_wrapper
        self.model: nn.Module = bare_model(runner)
        self.folder = Path(runner.work_dir) / 'bad_steps'
        self.buffers = list(self.model.buffers())
        self.saved_buffers = [buffer.clone() for buffer in self.buffers]
        backward, step = wrapper.backward, wrapper.step

        @functools.wraps(backward)
        def watched_backward(loss: Tensor, **kwargs) -> None:
            self.forwards[-1].is_finite = loss.detach().isfinite().all()
            backward(loss, **kwargs)

        @functools.wraps(step)  # mmengine's schedulers look for their mark on it
        def finite_step(**kwargs) -> None:
            loss_is_finite, norm_is_finite = self._are_finite(wrapper)
            if loss_is_finite and norm_is_finite:
                step(**kwargs)
            elif loss_is_finite and is_searching(wrapper):
                # skips it and takes a smaller scale; not by ``step``, which would log the norm
                wrapper.loss_scaler.step(wrapper.optimizer)
                wrapper.loss_scaler.update()
            else:
                self.bad_gradients = self._bad_gradients()
                self._copy_buffers(self.saved_buffers, self.buffers)
                return
            self._copy_buffers(self.buffers, self.saved_buffers)

        wrapper.backward, wrapper.step = watched_backward, finite_step
        self.replaced = backward, step

    def after_train(self, runner) -> None:
        """Restore ``backward`` and ``step`` of the optimizer wrapper."""
        runner.optim_wrapper.backward, runner.optim_wrapper.step = self.replaced

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Keep the batch and the random state."""
        self.forwards.append(_Forward(data_batch, random_states()))

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Report a step that was skipped.

        Raises:
            FloatingPointError: If ``stop_after`` updates in a row were skipped, on all processes.
        """
        self.forwards[-1].losses = {k: torch.as_tensor(v).detach() for k, v in outputs.items()}
        if self.bad_gradients is not None:
            self.skipped_in_a_row += 1
            outputs.clear()
            self._report(runner.iter + 1)
            self.bad_gradients = None
            self.forwards.clear()
        elif runner.optim_wrapper.should_update():
            self.skipped_in_a_row = 0
            self.forwards.clear()

    @staticmethod
    def _copy_buffers(sources: list[Tensor], destinations: list[Tensor]) -> None:
        if sources:
            torch._foreach_copy_(destinations, sources)

    def _are_finite(self, wrapper: OptimWrapper) -> tuple[bool, bool]:
        """Whether the losses, and the norm of the gradients, are finite on all processes."""
        gradients = [
            parameter.grad
            for group in wrapper.optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        norm = gradient_norm(gradients)
        losses = torch.stack([forward.is_finite for forward in self.forwards])
        bad = torch.stack([~losses.all(), ~norm.isfinite()]).float()
        all_reduce(bad, op='max')
        scaler = getattr(wrapper, 'loss_scaler', None)
        if scaler is not None:
            norm = norm / scaler.scale(torch.ones_like(norm))
        bad_loss, bad_norm, norm = torch.cat([bad, norm.float()[None]]).tolist()
        logged_by_wrapper = wrapper.clip_grad_kwargs and wrapper.grad_name == 'grad_norm'
        if not (bad_loss or bad_norm or logged_by_wrapper):
            wrapper.message_hub.update_scalar('train/grad_norm', norm)
        return not bad_loss, not bad_norm

    def _bad_gradients(self) -> list[str]:
        """Names of the parameters whose gradient is not finite."""
        return [
            name
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None and not _is_finite(parameter.grad)
        ]

    def _report(self, iteration: int) -> None:
        """Log images and tasks of the step, save the batches, and stop after ``stop_after``."""
        folder = self.folder / f'iter_{iteration}'
        saved = self._save(folder, iteration)
        forwards = [forward.describe() for forward in self.forwards]
        ranks = all_gather_object(
            dict(forwards=forwards, saved=saved, gradients=self.bad_gradients)
        )
        # of a sharded model each process sees a part
        gradients = list(dict.fromkeys(name for rank in ranks for name in rank['gradients']))
        is_loss = any(not forward['is_finite'] for rank in ranks for forward in rank['forwards'])
        lines = []
        for number, rank in enumerate(ranks):
            suspects = [f for f in rank['forwards'] if not (is_loss and f['is_finite'])]
            for forward in suspects:
                what = f' ({_first(forward["losses"])} not finite)' if forward['losses'] else ''
                lines.append(f'  process {number}{what}: {", ".join(forward["images"])}')
            if suspects:
                lines.append(f'  {rank["saved"]}')
        what = ['a loss'] if is_loss else []
        if gradients:
            what.append(f'a gradient ({_first(gradients)})')
        what = ' and '.join(what) or 'the norm of all gradients'
        lines.insert(
            0,
            f'iteration {iteration} was skipped: {what} is not finite. Skipped in a row: '
            f'{self.skipped_in_a_row} (training stops at {self.stop_after}). Its images:',
        )
        print_log('\n'.join(lines), logger='current', level=logging.WARNING)
        if self.skipped_in_a_row >= self.stop_after:
            raise FloatingPointError(
                f'{self.skipped_in_a_row} updates in a row had a loss or gradient that is not '
                f'finite, the last at iteration {iteration}. Their batches are in '
                f'{self.folder}; see where it begins with oneformer replay '
                f'{folder / "rank0.pth"}, and docs/losses.md for causes'
            )

    def _save(self, folder: Path, iteration: int) -> str:
        """Write the batches of this process, and say where; a full disk does not stop training."""
        if self.skipped_in_a_row == 1:
            self.weights = f'{folder.name}/weights.pth'
        others = [path for path in self.folder.glob('iter_*') if path != folder]
        if len(others) >= _MOST_SAVED:
            return f'not saved, since {self.folder} has {len(others)} such steps already'
        path = folder / f'rank{get_rank()}.pth'
        content = dict(
            iteration=iteration,
            rank=get_rank(),
            world_size=get_world_size(),
            bad_gradients=self.bad_gradients,
            weights=self.weights,
            batches=[
                dict(
                    images=pack_batch(forward.data),
                    random_state=forward.random_state,
                    is_finite=bool(forward.is_finite),
                    losses={name: float(value) for name, value in forward.losses.items()},
                )
                for forward in self.forwards
            ],
        )
        try:
            with replacing(path) as temporary:
                torch.save(content, temporary)
            if self.skipped_in_a_row == 1 and is_main_process():
                # a process that saves alone cannot put the parts of a sharded tensor together
                state = {
                    name: tensor
                    for name, tensor in self.model.state_dict().items()
                    if not is_sharded(tensor)
                }
                with replacing(self.folder / self.weights) as temporary:
                    torch.save(dict(state_dict=state), temporary)
        except (OSError, RuntimeError) as error:
            return f'could not be saved: {error}'
        return f'oneformer replay {path}'
