"""The model zoo: ``configs/metafile.yml`` as data, as a table for a terminal, and for the docs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.fileio import load
from terminaltables import AsciiTable

from .host.safe_io import write_bytes

# the metrics of the tables, in their order
METRICS = ('PQ', 'PQ things', 'PQ stuff', 'mask AP', 'mIoU', 'mIoU(ms+flip)')
START, END = '<!-- written by tools/list_models.py -->\n', '<!-- end -->\n'


@dataclass(frozen=True)
class ZooModel:
    """A model of the zoo.

    Attributes:
        name: Of its config, ``oneformer_{backbone}[_{start}-pre]_{dataset}[-{crop}]``.
        config: Path in the repository.
        backbone: As people write it.
        dataset: As people write it.
        crop: Height and width in pixels of what it trains on, ``HxW``.
        metrics: Published number of each of ``METRICS`` that has one, in percent.
        weights: URL of the published checkpoint, or None.
        is_ours: Whether the original has no such model.
    """

    name: str
    config: str
    backbone: str
    dataset: str
    crop: str
    metrics: Mapping[str, float]
    weights: str | None
    is_ours: bool

    @property
    def backbone_key(self) -> str:
        """The backbone as config names have it."""
        return self.name.split('_')[1]

    @property
    def dataset_key(self) -> str:
        """The dataset as config names have it."""
        return self.name.split('_')[-1].split('-')[0]

    @property
    def checkpoint(self) -> str | None:
        """File name of the published checkpoint."""
        return self.weights and self.weights.rsplit('/', 1)[-1]


def read_zoo(metafile: str | Path) -> list[ZooModel]:
    """The models of a metafile, in its order.

    Raises:
        ValueError: If a model lacks a key, or has a metric that no table shows.
    """
    models = []
    for entry in load(metafile)['Models']:
        try:
            metadata = entry['Metadata']
            model = ZooModel(
                name=entry['Name'],
                config=entry['Config'],
                backbone=metadata['Backbone'],
                dataset=metadata['Training Data'],
                crop=metadata['Crop'],
                metrics={
                    metric: value
                    for result in entry['Results'] or []
                    for metric, value in result['Metrics'].items()
                },
                weights=entry.get('Converted From', {}).get('Weights'),
                is_ours=metadata.get('Recipe') == 'ours',
            )
        except KeyError as error:
            raise ValueError(f'{metafile}: {entry.get("Name", entry)} has no {error}') from None
        unknown = set(model.metrics) - set(METRICS)
        if unknown:
            raise ValueError(f'{metafile}: {model.name} has the unknown metrics {sorted(unknown)}')
        models.append(model)
    return models


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'


def text_table(models: Sequence[ZooModel]) -> str:
    """A table for a terminal."""
    metrics = [metric for metric in METRICS if any(metric in model.metrics for model in models)]
    rows = [['config', 'backbone', 'dataset', 'crop', *metrics, 'published checkpoint']]
    for model in models:
        numbers = [_number(model.metrics.get(metric)) for metric in metrics]
        rows.append(
            [
                model.name,
                model.backbone,
                model.dataset,
                model.crop,
                *numbers,
                model.weights or '-',
            ]
        )
    table = AsciiTable(rows)
    table.inner_column_border = table.outer_border = False
    return table.table


def markdown_tables(models: Sequence[ZooModel]) -> str:
    """For each dataset a table, and the commands that convert its checkpoints."""
    sections = []
    for dataset in dict.fromkeys(model.dataset for model in models):
        of_set = [model for model in models if model.dataset == dataset]
        metrics = [metric for metric in METRICS if any(metric in model.metrics for model in of_set)]
        titles = ['config', 'backbone', 'crop', *metrics, 'published checkpoint']
        rows = [titles, ['---'] * len(titles)]
        for model in of_set:
            link = f'[{model.checkpoint}]({model.weights})' if model.weights else '-'
            name = f'[{model.name}](../{model.config})' + (' (ours)' if model.is_ours else '')
            numbers = [_number(model.metrics.get(metric)) for metric in metrics]
            rows.append([name, model.backbone, model.crop, *numbers, link])
        commands = [
            f'python tools/convert_checkpoint.py {model.checkpoint} checkpoints/{model.name}.pth'
            # the weights do not tell the dilations
            + (f' --config {model.config}' if model.backbone.startswith('DiNAT') else '')
            for model in of_set
            if model.weights
        ]
        table = [f'| {" | ".join(row)} |' for row in rows]
        sections.append(
            '\n'.join([f'## {dataset}', '', *table, '', '```bash', *commands, '```', ''])
        )
    return '\n'.join(sections)


def write_markdown(page: str | Path, models: Sequence[ZooModel]) -> None:
    """Replace the tables of a page, which are between two comments.

    Raises:
        ValueError: If the page lacks them.
    """
    text = Path(page).read_text()
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f'{page} has no lines {START.strip()} and {END.strip()}')
    write_bytes(page, f'{before}{start}\n{markdown_tables(models)}\n{end}{after}'.encode())
