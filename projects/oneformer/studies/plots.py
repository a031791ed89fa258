"""Pictures of ablations: differences to the full model, and confusion of look-alikes."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..host.safe_io import write_bytes
from .ablations import VARIANTS
from .published_claims import METRICS
from .report import CONFUSED, WITH_AND_WITHOUT, difference, pairs_of, values_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Results = Mapping[str, Mapping[str, Mapping[int, dict]]]


def draw_differences(results: Results, file: Path) -> None:
    """Draw a row of axes for each data: PQ, AP and mIoU of variants minus those of the full model.

    Args:
        results: Those of ``read_results``.
        file: PNG or another format of matplotlib's, by its suffix.

    Raises:
        ValueError: If no variant can be compared with the full model.
    """
    from matplotlib.figure import Figure

    shown = {data: list(_compared(of_data)) for data, of_data in results.items()}
    shown = {data: names for data, names in shown.items() if names}
    if not shown:
        raise ValueError('no variant and the full model have a seed in common: nothing to draw')
    height = 1 + 0.28 * sum(len(names) + 2 for names in shown.values())
    figure = Figure((11, height), layout='constrained')
    rows = figure.subplots(
        len(shown),
        len(METRICS),
        squeeze=False,
        sharex='col',
        sharey='row',
        height_ratios=[len(names) for names in shown.values()],
    )
    for axes, (data, names) in zip(rows, shown.items()):
        for axis, (metric, key) in zip(axes, METRICS.items()):
            for place, name in enumerate(names):
                full, own = (values_of(results[data][kind], key) for kind in ('full', name))
                change = difference(own, full)
                for seed in set(own) & set(full):
                    axis.plot(own[seed] - full[seed], place, '.', color='0.7', markersize=4)
                if change.pairs > 1:
                    axis.errorbar(change.mean, place, xerr=change.half, fmt='o', color='C0', ms=4)
            axis.axvline(0, color='0.5', linewidth=0.8)
            axis.set_title(f'{metric}, {data}', fontsize=9)
        axes[0].set_yticks(range(len(names)), [VARIANTS[name].what for name in names], fontsize=7)
        axes[0].invert_yaxis()
    save_figure(figure, file)


def draw_confusion(results: Results, file: Path) -> None:
    """Draw how often look-alikes are confused with and without the contrastive loss.

    A bar is a mean over seeds, a dot a seed.

    Args:
        results: Those of ``read_results``.
        file: PNG or another format of matplotlib's, by its suffix.

    Raises:
        ValueError: If the full model was not trained on any data.
    """
    from matplotlib.figure import Figure

    shown = {data: pairs for data, of_data in results.items() if (pairs := pairs_of(of_data))}
    if not shown:
        raise ValueError('the full model has not been trained: no confusion to draw')
    figure = Figure((11, 3.5), layout='constrained')
    row = figure.subplots(1, len(shown), squeeze=False, width_ratios=[*map(len, shown.values())])[0]
    width = 0.8 / len(WITH_AND_WITHOUT)
    for axis, (data, pairs) in zip(row, shown.items()):
        for number, kind in enumerate(WITH_AND_WITHOUT):
            runs = results[data].get(kind, {})
            for place, pair in enumerate(pairs):
                x = place + (number - (len(WITH_AND_WITHOUT) - 1) / 2) * width
                shares = list(values_of(runs, f'{CONFUSED}: {pair}').values())
                label = VARIANTS[kind].what if place == 0 else None
                height = np.mean(shares) if shares else np.nan
                axis.bar(x, height, width, color=f'C{number}', alpha=0.6, label=label)
                axis.plot([x] * len(shares), shares, '.', color='0.2', markersize=4)
        axis.set_xticks(range(len(pairs)), [pair.replace(', ', '\n') for pair in pairs], fontsize=8)
        axis.set_title(data, fontsize=9)
    row[0].set_ylabel('taken for one another, %')
    row[0].legend(fontsize=7)
    save_figure(figure, file)


def save_figure(figure: 'Figure', file: Path) -> None:
    """Write a figure of matplotlib's whole, in the format of the file's suffix."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file.suffix[1:] or 'png', dpi=120)
    write_bytes(file, buffer.getvalue())


def _compared(of_data: Mapping[str, Mapping[int, dict]]) -> list[str]:
    """Variants that share a seed with the full model, in the order of ``VARIANTS``."""
    full = set(of_data.get('full', {}))
    return [name for name in VARIANTS if name != 'full' and full & set(of_data.get(name, {}))]
