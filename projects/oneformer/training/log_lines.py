"""Lines of the log for people: losses of the last layer, rate, time left; metrics in rows.

Values that a line leaves out are in the JSON of the run (``vis_data/scalars.json``) and with the
other backends of the visualizer, as mmengine writes them.
"""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from numbers import Real

from mmdet.registry import LOG_PROCESSORS
from mmengine.runner import LogProcessor, Runner
from terminaltables import AsciiTable

from ..evaluation.evaluator import OneFormerEvaluator, Waited
from ..tasks import TASKS

_TIMES = ('time', 'data_time')
_MINOR = ('SQ_th', 'RQ_th', 'SQ_st', 'RQ_st')  # left out of the table; the JSON has them
_COLUMNS = 7  # of figures in a row of the table


def last_layer_losses(names: Iterable[str]) -> list[str]:
    """Names of losses except those of an intermediate layer (``d0.loss_cls``)."""
    return [name for name in names if name.startswith('loss') and '.' not in name]


def _rates(tag: Mapping[str, float]) -> list[str]:
    """Names of the learning rates that the config sets, without those of single groups."""
    every = [name for name in tag if name.endswith('lr')]
    return [name for name in every if name.endswith('base_lr')] or every


def metrics_table(metrics: Mapping[str, float], digits: int = 3) -> str:
    """The figures of a validation, one row for each task or other prefix of their names.

    Args:
        metrics: Metrics by name, such as ``panoptic/PQ``.
        digits: Digits after the point, for values other than percentages of the three tasks.
    """
    rows = {}
    for name, value in metrics.items():
        prefix, _, figure = f'/{name}'.rpartition('/')
        prefix, of_task = prefix[1:], prefix.split('/')[-1] in TASKS
        if of_task and figure in _MINOR:
            continue
        if isinstance(value, Real):
            value = f'{value:.2f}' if of_task else f'{value:.{digits}f}'
        rows.setdefault(prefix, []).append(f'{figure} {value}')
    lines = [
        [prefix if start == 0 else '', *cells[start : start + _COLUMNS]]
        for prefix, cells in rows.items()
        for start in range(0, len(cells), _COLUMNS)
    ]
    width = max(map(len, lines), default=0)
    table = AsciiTable([line + [''] * (width - len(line)) for line in lines])
    table.inner_heading_row_border = False
    return table.table


@LOG_PROCESSORS.register_module()
class ReadableLog(LogProcessor):
    """mmengine's log processor with short lines; the JSON is unchanged.

    A line of training has the total loss, in brackets those of the last layer, the learning rate of
    the config under its schedule (``base_lr`` of the JSON), the time left without validation, and
    on a GPU the most memory that was in use. Losses have the names of the JSON without ``loss_``.
    Values that ``custom_cfg`` adds under a ``log_name`` are shown as well. The figures of a
    validation or test are a table.

    Args:
        num_digits: Digits after the point.
        **kwargs: Arguments of mmengine's ``LogProcessor``, which ``type='LogProcessor'`` brings
            back as a whole.
    """

    def __init__(self, *, num_digits: int = 3, **kwargs) -> None:
        super().__init__(num_digits=num_digits, **kwargs)

    def get_log_after_iter(self, runner: Runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        """Values of an iteration for the JSON, and the line for the log."""
        tag, line = super().get_log_after_iter(runner, batch_idx, mode)
        parts = [re.match(r'\w+\(\w+\)\s*(\[[^]]*\])+', line).group()]
        values = {self._remove_prefix(name, f'{mode}/'): value for name, value in tag.items()}
        if mode == 'train':
            parts += self._losses(values)
            parts += [self._rate(name, values[name]) for name in _rates(values)]
            parts += self._extra(values)
        if 'time' in values and 'eta' in runner.message_hub.runtime_info:
            seconds = runner.message_hub.get_info('eta')
            parts.append(f'left: {timedelta(seconds=max(0, int(seconds)))}')
        if 'memory' in values:
            parts.append(f'memory: {values["memory"]} MB')
        if mode != 'train' and 'time' in values:
            parts += self._waits(runner, mode, values)
        return tag, '  '.join(parts)

    def get_log_after_epoch(
        self, runner: Runner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict, str]:
        """Figures of a validation or test for the JSON, and the table for the log."""
        tag, line = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        others = self._collect_non_scalars(runner, mode)
        metrics = {
            self._remove_prefix(name, f'{mode}/'): value
            for name, value in tag.items()
            if name not in others
        }
        times = {name: metrics.pop(name) for name in _TIMES if name in metrics}
        head = re.match(r'\w+\(\w+\)\s*(\[[^]]*\])+', line).group()
        if 'time' in times and not math.isnan(times['time']):
            head += f'  {times["time"]:.{self.num_digits}f} s per batch'
        lines = [head]
        if metrics:
            lines.append(metrics_table(metrics, self.num_digits))
        lines += [f'{name}: {value}' for name, value in others.items()]
        return tag, '\n'.join(lines)

    def _losses(self, values: Mapping[str, float]) -> list[str]:
        """``loss: 9.5 (cls 1.2, mask 0.8)``, or nothing after a skipped step."""
        names = last_layer_losses(values)
        parts = [
            f'{name.removeprefix("loss_")} {values[name]:.{self.num_digits}f}'
            for name in names
            if name != 'loss'
        ]
        if 'loss' not in names:
            return [', '.join(parts)] if parts else []
        total = f'loss: {values["loss"]:.{self.num_digits}f}'
        return [f'{total} ({", ".join(parts)})' if parts else total]

    @staticmethod
    def _waits(runner: Runner, mode: str, values: Mapping[str, float]) -> list[str]:
        """``waits for scoring: 0.12 of 0.15 s per batch``, or for what else takes most."""
        evaluator = getattr(runner, f'{mode}_evaluator', None)
        if not isinstance(evaluator, OneFormerEvaluator) or not evaluator.waited.batches:
            return []
        waited, evaluator.waited = evaluator.waited, Waited()
        parts = dict(scoring=waited.seconds / waited.batches, images=values.get('data_time', 0.0))
        parts['the network'] = values['time'] - sum(parts.values())
        most = max(parts, key=lambda name: parts[name])
        return [f'waits for {most}: {parts[most]:.2g} of {values["time"]:.2g} s per batch']

    @staticmethod
    def _rate(name: str, value: float) -> str:
        """``lr: 1.0e-04``; with several optimizers with the name of each."""
        owner = name.removesuffix('base_lr') if name.endswith('base_lr') else name[:-2]
        return f'{owner}lr: {value:.2e}'

    def _extra(self, values: Mapping[str, float]) -> list[str]:
        """Values that the config adds under a name of their own."""
        names = [cfg['log_name'] for cfg in self.custom_cfg if 'log_name' in cfg]
        shown = {*last_layer_losses(values), *_rates(values), *_TIMES}
        return [
            f'{name}: {values[name]:.{self.num_digits}f}'
            for name in names
            if name in values and name not in shown
        ]
