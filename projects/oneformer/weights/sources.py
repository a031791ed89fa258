"""From what a user says of weights to a file or folder here."""

import logging
import os
from pathlib import Path

from mmengine.logging import print_log

from ..host.errors import CheckpointError
from ..zoo import ZooModel, find_model, similar_names
from .downloads import ENDINGS, download, find_download
from .hub import fetch, find_cached, hub_source

Source = str | os.PathLike | ZooModel

_LIST = 'oneformer list lists them'


class NoSuchWeights(CheckpointError, FileNotFoundError):
    """A name that is of nothing here, on the hub, or in the zoo."""


def local_path(source: Source) -> Path:
    """A file or folder of weights, which is fetched where it is not here.

    What exists here is taken as it is, whatever else has that name. What is fetched is kept, and
    taken without any request from then on: files of the hub in the cache of ``huggingface_hub``,
    others where ``downloads.place_of`` says.

    Args:
        source: Path of a file, or of a folder as transformers writes it; name of a model of the zoo
            (``oneformer_swin-l_ade20k``), for its published weights; id of a repository on the
            Hugging Face hub (``shi-labs/oneformer_ade20k_swin_large``, with ``@REVISION`` if it is
            not to be ``main``), or a link to it or to a file in it; URL of a file. A ``ZooModel``
            is what its name is where nothing here has that name.

    Returns:
        A path. A path that was given may not exist: what reads it says so.

    Raises:
        CheckpointError: If it cannot be fetched, with the reason, and where to put it by hand;
            ``NoSuchWeights`` for a name that means nothing.
    """
    if isinstance(source, ZooModel):
        return fetch_published(source)
    path = Path(source).expanduser()
    if not isinstance(source, str) or os.path.exists(path):  # Path.exists fails for long URLs
        return path
    if '/' in source:
        return _from_address(source)
    if model := find_model(source):
        return fetch_published(model)
    if path.suffix in ENDINGS or os.sep in source:
        return path
    raise NoSuchWeights(
        f'weights {source} do not exist: there is no such file or folder, and no model of the zoo '
        f'has that name; similar are {similar_names(source)}'
    )


def _from_address(source: str, size: int | None = None, sha256: str | None = None) -> Path:
    """Path of what is at an id or link of the hub, or a URL; of others as they are."""
    if repository := hub_source(source):
        return fetch(repository)
    if source.startswith(('http://', 'https://')):
        return download(source, size, sha256)
    return Path(source).expanduser()


def _find_fetched(source: str, size: int | None) -> Path | None:
    """Where that is, if it was fetched before."""
    if repository := hub_source(source):
        return find_cached(repository)
    return find_download(source, size)


def fetch_published(model: ZooModel) -> Path:
    """Published weights of a model of the zoo, from the first of their sources that has them.

    Raises:
        CheckpointError: If there are none, or no source can be reached; names all of them.
    """
    if not model.weights:
        raise CheckpointError(
            f'{model.name} has no published weights: give those of a training of yours, or choose '
            f'a model that has some: {_LIST}'
        )
    checks = (model.size, model.sha256)
    found = next(filter(None, (_find_fetched(url, model.size) for url in model.weights)), None)
    failures = []
    for url in () if found else model.weights:
        try:
            found = _from_address(url, *checks)
            break
        except CheckpointError as error:
            failures.append(str(error))
    if found is None:
        title = f'the published weights of {model.name} cannot be fetched'
        raise CheckpointError('\n'.join([f'{title}:', *failures]))
    for failure in failures:
        print_log(f'{failure}. Other weights are taken:', 'current', logging.WARNING)
    print_log(f'{model.name}: the published weights in {found}', 'current')
    return found


def delete_hint(source: Source, path: Path) -> str:
    """What to do about a broken file that was fetched, nothing for one that was here."""
    if not isinstance(source, ZooModel) and path == Path(source).expanduser():
        return ''
    if 'snapshots' in path.parts:  # of the hub: its files are beside, under other names
        path = Path(*path.parts[: path.parts.index('snapshots')])
    return f'. If the download is at fault, delete {path}'
