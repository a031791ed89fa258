"""Numbers of a training from the ``scalars.json`` of its work folder, over all its starts."""

import json
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path

from ..tasks import TASKS
from .log_lines import last_layer_losses


@dataclass
class Curves:
    """Points by name, each as [iterations, values].

    Attributes:
        losses: The total ``loss`` and the losses of the last layer.
        rates: Learning rates of the config.
        metrics: First metric of each task, or of each other prefix of the names of metrics.
        last: Last iteration of any point.
    """

    losses: dict[str, list[list]] = field(default_factory=dict)
    rates: dict[str, list[list]] = field(default_factory=dict)
    metrics: dict[str, list[list]] = field(default_factory=dict)
    last: int = 0

    def add(self, kind: str, name: str, place: int, value: float) -> None:
        """Add a point; those of later iterations are of an earlier start, and are dropped."""
        places, values = getattr(self, kind).setdefault(name, [[], []])
        while places and places[-1] >= place:
            places.pop(), values.pop()
        places.append(place), values.append(float(value))
        self.last = place


def _lines(path: Path) -> list[dict]:
    """JSON objects of a file; the last line of a killed training may be half written."""
    lines = path.read_text(encoding='utf-8').splitlines()
    content = []
    for number, line in enumerate(lines, 1):
        try:
            content.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise ValueError(f'{path}, line {number}: not JSON ({error})') from None
    return content


def read_curves(work_dir: Path) -> Curves:
    """Points of all starts of a training, in the order of time.

    Args:
        work_dir: Work folder, in which each start has a folder TIME/vis_data with a scalars.json;
            or the folder of one start.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If one is damaged, or no line has a loss or a metric.
    """
    files = sorted(Path(work_dir).glob('**/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(
            f'{work_dir} has no TIME/vis_data/scalars.json: it is not the work folder of a '
            'training, or that had no LocalVisBackend'
        )
    curves = Curves()
    for line in (line for path in files for line in _lines(path)):
        place = int(line.get('step', line.get('iter', 0)))
        numbers = {name: value for name, value in line.items() if isinstance(value, Real)}
        if 'loss' in numbers:
            for name in last_layer_losses(numbers):
                curves.add('losses', name, place, numbers[name])
            rates = [name for name in numbers if name.endswith('base_lr')]
            for name in rates or [name for name in numbers if name == 'lr']:
                curves.add('rates', name, place, numbers[name])
            continue
        first = {}
        for name in numbers:
            if '/' in name or name in TASKS:
                first.setdefault(name.rpartition('/')[0], name)
        for name in first.values():
            curves.add('metrics', name, place, numbers[name])
    if not curves.losses and not curves.metrics:
        raise ValueError(f'{work_dir}: {len(files)} scalars.json, and no loss or metric in them')
    return curves
