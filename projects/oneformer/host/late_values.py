"""Losses that stay on the device until somebody reads them: one wait for a line of the log."""

import functools
from collections import defaultdict
from collections.abc import Callable
from typing import SupportsIndex

import numpy as np
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.registry import HOOKS
from torch import Tensor

from .sharding import is_sharded

_MOST = 4096  # values that wait, each in a few hundred bytes of the device


def _can_wait(value: object) -> bool:
    """Whether a value is like most; in one tensor others would not stay what they are."""
    return isinstance(value, Tensor) and value.dtype == torch.float32 and value.numel() == 1


class _Unread:
    """Values that are still on their devices, oldest first."""

    def __init__(self) -> None:
        self.values: list[tuple[LateHistory, Tensor]] = []

    def add(self, history: 'LateHistory', value: Tensor) -> None:
        self.values.append((history, value.detach()))
        if len(self.values) >= _MOST:
            self.read()

    def read(self) -> None:
        """Append all values to their histories, by one copy from each device."""
        values, self.values = self.values, []
        by_device = defaultdict(list)
        for place, (_, value) in enumerate(values):
            by_device[value.device].append(place)
        numbers = [0.0] * len(values)
        for places in by_device.values():
            read = torch.stack([values[place][1].reshape(()) for place in places]).tolist()
            for place, number in zip(places, read):
                numbers[place] = number
        of_history = defaultdict(list)
        for (history, _), number in zip(values, numbers):
            of_history[history].append(number)
        for history, read in of_history.items():
            history.extend(read)


class LateHistory(HistoryBuffer):
    """A history of mmengine's whose newest values may be on the device, which no reader notices.

    Copies of it, and what a checkpoint has of it, are plain ``HistoryBuffer``.

    Args:
        past: The values so far.
        unread: Newer values of all histories, which wait to be read.
    """

    def __init__(self, past: HistoryBuffer, unread: _Unread) -> None:
        self.unread = unread
        self._past = np.empty(0), np.empty(0)
        super().__init__(*past.data, past.max_length)

    # mmengine's methods read and set these two

    @property
    def _log_history(self) -> np.ndarray:
        self.unread.read()
        return self._past[0]

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._past = values, self._past[1]

    @property
    def _count_history(self) -> np.ndarray:
        self.unread.read()
        return self._past[1]

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._past = self._past[0], counts

    def extend(self, values: list[float]) -> None:
        """Append values, each counted once."""
        parts = zip(self._past, (values, [1] * len(values)))
        log, count = (np.append(past, new)[-self.max_length :] for past, new in parts)
        self._past = log, count

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple:
        return HistoryBuffer, (*self.data, self.max_length)


@HOOKS.register_module()
class LateRuntimeInfoHook(RuntimeInfoHook):
    """mmengine's hook, which reads each loss from the device in every iteration, without that.

    What is logged is the same. The values are read, all at once, when a line of the log, a
    checkpoint or anything else needs one of them. So is the norm of the gradients that an
    optimizer wrapper with ``clip_grad`` logs.
    """

    def __init__(self) -> None:
        self._unread = _Unread()
        self._clip: Callable | None = None

    def before_train(self, runner) -> None:
        """Keep the norms of clipped gradients, too."""
        super().before_train(runner)
        wrapper = runner.optim_wrapper
        if not getattr(wrapper, 'clip_grad_kwargs', None):
            return
        clip = self._clip = wrapper.clip_func

        @functools.wraps(clip)
        def clip_quietly(*args, **kwargs) -> None:
            norm = clip(*args, **kwargs)
            if norm is not None:  # mmengine would read and log it
                self._keep(wrapper.message_hub, f'train/{wrapper.grad_name}', norm)

        wrapper.clip_func = clip_quietly

    def after_train(self, runner) -> None:
        """Restore the clipping of gradients."""
        super().after_train(runner)
        if self._clip is not None:
            runner.optim_wrapper.clip_func, self._clip = self._clip, None

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Keep the losses of an iteration."""
        for name, value in (outputs or {}).items():
            self._keep(runner.message_hub, f'train/{name}', value)

    def _keep(self, hub: MessageHub, key: str, value: Tensor | float) -> None:
        """Append a value to its history, the first one as mmengine does."""
        if isinstance(value, Tensor) and is_sharded(value):  # norm of such gradients
            value = value.full_tensor()
        history = hub.log_scalars.get(key)
        if history is None or not _can_wait(value):
            hub.update_scalar(key, value)
            return
        if not isinstance(history, LateHistory) or history.unread is not self._unread:
            history = hub.log_scalars[key] = LateHistory(history, self._unread)
        self._unread.add(history, value)
