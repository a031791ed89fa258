"""Picture of ablations: each variant's differences to the full model, with their intervals."""

import io
from collections.abc import Mapping
from pathlib import Path

from ..host.safe_io import write_bytes
from .ablations import VARIANTS
from .published_claims import METRICS
from .report import difference, values_of


def draw_differences(results: Mapping[str, Mapping[str, Mapping[int, dict]]], file: Path) -> None:
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
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file.suffix[1:] or 'png', dpi=120)
    write_bytes(file, buffer.getvalue())


def _compared(of_data: Mapping[str, Mapping[int, dict]]) -> list[str]:
    """Variants that share a seed with the full model, in the order of ``VARIANTS``."""
    full = set(of_data.get('full', {}))
    return [name for name in VARIANTS if name != 'full' and full & set(of_data.get(name, {}))]
