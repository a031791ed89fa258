"""The model zoo: names to configs and published weights, and as tables.

Imports nothing of the package, so that ``oneformer list`` need not import torch.
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from terminaltables import AsciiTable

_PACKAGE = Path(__file__).resolve().parent
# configs of an installed package, or of a checkout
_PACKAGED = _PACKAGE / '.mim/configs'
ZOO = _PACKAGED if _PACKAGED.is_dir() else _PACKAGE.parents[1] / 'configs'
SCRIPTS = ZOO.parent / 'tools'  # launch scripts
_HUB = 'https://huggingface.co/'
_PATTERNS = ('oneformer_*.py', 'oneformer-vit_*.py', 'eomt_*.py')

# the metrics of the tables, in their order
METRICS = ('PQ', 'PQ things', 'PQ stuff', 'mask AP', 'mIoU', 'mIoU(ms+flip)')
START, END = '<!-- written by oneformer list -->\n', '<!-- end -->\n'


@dataclass(frozen=True)
class ZooModel:
    """A model of the zoo.

    Attributes:
        name: Name of its config, ``oneformer_{backbone}[_{start}-pre]_{dataset}[-{crop}]``, or the
            same beginning with ``oneformer-vit`` or ``eomt``.
        config: Path in the repository.
        backbone: Name of the backbone as people write it.
        dataset: Name of the dataset as people write it.
        crop: Height and width in pixels of what it trains on, ``HxW``.
        metrics: Published number of each of ``METRICS`` that has one, in percent.
        weights: URLs of the published weights, the first of which is taken if it can be had: their
            repository on the Hugging Face hub, if they have one, and the file of the authors.
        size: Bytes of that file, None if they are not recorded.
        sha256: SHA-256 of that file, None if it is not published.
        is_ours: Whether the original has no such model.
    """

    name: str
    config: str
    backbone: str
    dataset: str
    crop: str
    metrics: Mapping[str, float]
    weights: tuple[str, ...]
    size: int | None
    sha256: str | None
    is_ours: bool

    @property
    def backbone_key(self) -> str:
        """The backbone as config names have it."""
        return self.name.split('_')[1]

    @property
    def dataset_key(self) -> str:
        """The dataset as config names have it."""
        return self.name.split('_')[-1].split('-')[0]


def read_zoo(metafile: str | Path) -> list[ZooModel]:
    """The models of a metafile, in its order.

    Raises:
        ValueError: If a model lacks a key, or has a metric that no table shows.
    """
    models = []
    for entry in yaml.safe_load(Path(metafile).read_bytes())['Models']:
        weights = entry.get('Weights') or ()
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
                weights=(weights,) if isinstance(weights, str) else tuple(weights),
                size=entry.get('Size'),
                sha256=entry.get('SHA256'),
                is_ours=metadata.get('Recipe') == 'ours',
            )
        except KeyError as error:
            raise ValueError(f'{metafile}: {entry.get("Name", entry)} has no {error}') from None
        unknown = set(model.metrics) - set(METRICS)
        if unknown:
            raise ValueError(f'{metafile}: {model.name} has the unknown metrics {sorted(unknown)}')
        models.append(model)
    return models


def zoo_models() -> list[ZooModel]:
    """All models: the original's, then those on plain vision transformers.

    Raises:
        ValueError: See ``read_zoo``.
    """
    metafiles = [ZOO / 'metafile.yml', ZOO / 'vit/metafile.yml']
    return [model for metafile in metafiles if metafile.is_file() for model in read_zoo(metafile)]


def find_model(name: str) -> ZooModel | None:
    """The model of a name, None if the zoo has none of it."""
    return next((model for model in zoo_models() if model.name == name), None)


def _configs() -> dict[str, Path]:
    """Config files by their names; of one name that of the upper folder."""
    found = (path for pattern in _PATTERNS for path in ZOO.rglob(pattern))
    paths = (path for path in found if '_base_' not in path.parts)
    return {path.stem: path for path in sorted(paths, key=lambda path: -len(path.parts))}


def similar_names(name: str) -> str:
    """Names of the zoo that may be meant, as a list in a sentence."""
    names = sorted(_configs())
    similar = difflib.get_close_matches(name, names, n=3) or names[:3]
    return ', '.join(similar) or 'none, since that folder has no configs'


def find_config(name: str | os.PathLike) -> Path:
    """A config file by its path, or by its name in the zoo (``oneformer_swin-l_ade20k``).

    Others of the zoo's folder have their path in it as a name, such as ``your_data/instance.py``.

    Raises:
        FileNotFoundError: If there is neither; names the most similar configs of the zoo.
    """
    path = Path(name)
    if path.is_file():
        return path
    if config := _configs().get(str(name).removesuffix('.py')):
        return config
    inside = ZOO / f'{str(name).removesuffix(".py")}.py'
    if not path.is_absolute() and inside.is_file():
        return inside
    raise FileNotFoundError(
        f'{name} is neither a config file nor the name of one in {ZOO}, such as '
        f'{similar_names(path.stem)}'
    )


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'


def text_table(models: Sequence[ZooModel]) -> str:
    """A table for a terminal."""
    metrics = [metric for metric in METRICS if any(metric in model.metrics for model in models)]
    rows = [['name', 'backbone', 'dataset', 'crop', *metrics, 'published weights']]
    for model in models:
        numbers = [_number(model.metrics.get(metric)) for metric in metrics]
        weights = model.weights[0].removeprefix(_HUB) if model.weights else '-'
        rows.append([model.name, model.backbone, model.dataset, model.crop, *numbers, weights])
    table = AsciiTable(rows)
    table.inner_column_border = table.outer_border = False
    return table.table


def markdown_tables(models: Sequence[ZooModel]) -> str:
    """A table for each dataset."""
    sections = []
    for dataset in dict.fromkeys(model.dataset for model in models):
        of_set = [model for model in models if model.dataset == dataset]
        metrics = [metric for metric in METRICS if any(metric in model.metrics for model in of_set)]
        titles = ['config', 'backbone', 'crop', *metrics, 'published weights']
        rows = [titles, ['---'] * len(titles)]
        for model in of_set:
            links = [
                f'[{url.removeprefix(_HUB) if url.startswith(_HUB) else Path(url).name}]({url})'
                for url in model.weights
            ]
            name = f'[{model.name}](../{model.config})' + (' (ours)' if model.is_ours else '')
            numbers = [_number(model.metrics.get(metric)) for metric in metrics]
            rows.append([name, model.backbone, model.crop, *numbers, ', '.join(links) or '-'])
        table = [f'| {" | ".join(row)} |' for row in rows]
        sections.append('\n'.join([f'## {dataset}', '', *table, '']))
    return '\n'.join(sections)


def write_markdown(page: str | Path, models: Sequence[ZooModel]) -> None:
    """Replace the tables of a page, which are between two comments.

    Raises:
        ValueError: If the page lacks them.
    """
    from .host.safe_io import write_bytes

    text = Path(page).read_text()
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f'{page} has no lines {START.strip()} and {END.strip()}')
    write_bytes(page, f'{before}{start}\n{markdown_tables(models)}\n{end}{after}'.encode())
