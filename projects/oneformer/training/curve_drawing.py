"""Curves of a training as one picture."""

import io
from collections.abc import Mapping, Sequence

Series = Mapping[str, Sequence[Sequence[float]]]  # name to iterations and values


def _panel(axes, title: str, series: Series, marks: bool = False) -> None:
    for name, (places, values) in series.items():
        few = marks or len(places) < 3
        axes.plot(places, values, label=name, linewidth=1.2, marker='o' if few else None, ms=3)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel('iteration', fontsize=8)
    axes.tick_params(labelsize=8)
    axes.xaxis.get_major_locator().set_params(integer=True, nbins=7)
    axes.grid(alpha=0.3)
    if series:
        axes.legend(fontsize=8, loc='upper left' if marks else 'upper right')


def draw_curves(title: str, losses: Series, rates: Series, metrics: Series) -> bytes:
    """A PNG with the total loss, the other losses, the learning rate and validation.

    Args:
        title: Title of the picture.
        losses: ``loss``, which is the total, and others, each as [iterations, values].
        rates: Learning rates.
        metrics: Metrics of validation, each as [iterations, values].
    """
    # not pyplot, which has global state and may look for a screen
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), dpi=90)
    margins = dict(left=0.05, right=0.98, bottom=0.07, top=0.92, hspace=0.32, wspace=0.12)
    panels = figure.subplots(2, 2, gridspec_kw=margins).ravel()  # a layout takes half a second
    _panel(panels[0], 'loss, all layers', {k: v for k, v in losses.items() if k == 'loss'})
    _panel(panels[1], 'losses, last layer', {k: v for k, v in losses.items() if k != 'loss'})
    _panel(panels[2], 'learning rate', rates)
    panels[2].ticklabel_format(axis='y', style='sci', scilimits=(0, 0))
    _panel(panels[3], 'validation', metrics, marks=True)
    figure.suptitle(title, fontsize=10)
    file = io.BytesIO()
    figure.savefig(file, format='png')
    return file.getvalue()
