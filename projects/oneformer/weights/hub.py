"""Weights on the Hugging Face hub, through ``huggingface_hub`` and its cache."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..host.errors import CheckpointError
from .downloads import ENDINGS

HUB = 'https://huggingface.co'

_CONFIG = 'config.json'
# of one file or of several with an index; what transformers prefers comes first
WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin')
_ID = re.compile(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*')
_SECONDS = 10  # until the hub answers at all


@dataclass(frozen=True)
class HubSource:
    """Weights in a repository of models.

    Attributes:
        repository: Its id, ``owner/name``.
        revision: Branch, tag or commit.
        file: Path of a file in it, None for the weights and config.json.
    """

    repository: str
    revision: str = 'main'
    file: str | None = None


def _endpoint() -> str:
    """URL of the hub or its mirror; the library itself looks only when it is imported."""
    return (os.environ.get('HF_ENDPOINT') or HUB).rstrip('/')


def _cache() -> Path:
    """Folder of the library's cache, as above."""
    from huggingface_hub import constants

    home = os.environ.get('HF_HOME')
    default = os.path.join(home, 'hub') if home else constants.HF_HUB_CACHE
    return Path(os.environ.get('HF_HUB_CACHE') or default).expanduser()


def hub_source(source: str) -> HubSource | None:
    """Read an id, ``owner/name`` or ``owner/name@revision``, or a link of the hub.

    Links are those of a repository, of one of its revisions (``tree``), and of a file (``resolve``
    or ``blob``).

    Returns:
        None for what is neither, among others for paths of files.
    """
    if '://' not in source:
        name, _, revision = source.partition('@')
        if not _ID.fullmatch(name) or name.endswith(ENDINGS):
            return None
        return HubSource(name, revision or 'main')
    bases = (_endpoint(), HUB, 'https://www.huggingface.co', 'https://hf.co')
    base = next((base for base in bases if source.startswith(f'{base}/')), None)
    if base is None:
        return None
    path = urlsplit(source[len(base) :]).path
    owner, name, kind, revision, *file = [*filter(None, path.split('/')), *[''] * 4]
    if owner in ('datasets', 'spaces') or not _ID.fullmatch(f'{owner}/{name}'):
        return None
    file, revision = '/'.join(filter(None, file)), unquote(revision)
    if not kind and not name.endswith(ENDINGS):
        return HubSource(f'{owner}/{name}')
    if kind == 'tree' and revision and not file:
        return HubSource(f'{owner}/{name}', revision)
    if kind in ('resolve', 'blob', 'raw') and file:
        return HubSource(f'{owner}/{name}', revision, unquote(file))
    return None


def _gather(source: HubSource, get: Callable[[str], Path | None]) -> Path | None:
    """Path of the file, or of the folder of config.json and all weights; None if it lacks some."""
    if source.file:
        return get(source.file)
    config = get(_CONFIG)
    if config is None:
        return None
    for name in WEIGHT_FILES:
        if get(name):
            return config.parent
        if index := get(f'{name}.index.json'):
            return config.parent if all(map(get, _parts(index))) else None
    return None


def _parts(index: Path) -> list[str]:
    """Names of the files that an index lists."""
    try:
        names = sorted(set(json.loads(index.read_bytes())['weight_map'].values()))
        plain = all(Path(name).name == name for name in names)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        plain = False
    if not plain:
        raise CheckpointError(f'weight_map of {index} does not lead to files beside it')
    return names


def find_cached(source: HubSource) -> Path | None:
    """Path of the file or folder if all of it is in the cache; nothing is asked of the hub."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    def get(name: str) -> Path | None:
        try:
            path = try_to_load_from_cache(
                source.repository, name, cache_dir=_cache(), revision=source.revision
            )
        except (HFValidationError, ValueError):
            return None
        return Path(path) if isinstance(path, str) else None

    return _gather(source, get)


def fetch(source: HubSource) -> Path:
    """Path of the file, or of a folder with config.json and the weights.

    What is complete in the cache is taken without asking the hub, and so stays the same. Of a
    repository with safetensors these are fetched, and else ``pytorch_model.bin``; nothing else is.

    Raises:
        CheckpointError: With the reason, and what to do without the hub.
    """
    if found := find_cached(source):
        return found
    if os.environ.get('HF_HUB_OFFLINE', '').upper() in ('1', 'ON', 'YES', 'TRUE'):
        raise CheckpointError(
            f'{source.repository} is neither here nor complete in {_cache()}, and HF_HUB_OFFLINE '
            f'forbids to fetch it: unset that variable, or {_by_hand(source)}'
        )
    try:
        found = _fetch(source)
    except CheckpointError:
        raise
    except Exception as error:  # of the hub, of HTTP, of files
        raise _refusal(source, error) from error
    if found is None:
        raise CheckpointError(
            f'{source.repository} at {_endpoint()} has not the files of a model of transformers '
            f'({_CONFIG} and one of {", ".join(WEIGHT_FILES)}, or of their index): give the URL of '
            'a file of weights in it'
        )
    return found


def _fetch(source: HubSource) -> Path | None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    endpoint, revision = _endpoint(), source.revision
    first = source.file or _CONFIG

    def get(name: str) -> Path | None:
        nonlocal revision
        try:
            path = hf_hub_download(
                source.repository, name, revision=revision, endpoint=endpoint, cache_dir=_cache()
            )
        except EntryNotFoundError as error:
            if source.file or not _is_of_the_hub(error):
                raise
            return None
        if name == _CONFIG:  # the other files are of the same commit, whatever happens meanwhile
            revision = Path(path).parent.name
        return Path(path)

    # asked once: hf_hub_download would try for half a minute before it says that there is no hub
    url = hf_hub_url(source.repository, first, revision=revision, endpoint=endpoint)
    try:
        get_hf_file_metadata(url, timeout=_SECONDS)
    except EntryNotFoundError as error:
        if source.file or not _is_of_the_hub(error):
            raise
    return _gather(source, get)


def _is_of_the_hub(error: Exception) -> bool:
    """Whether the hub said that it lacks a file, and not the cache while the hub did not answer."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    return not isinstance(error, LocalEntryNotFoundError)


def _by_hand(source: HubSource) -> str:
    """How to do without the hub."""
    page = f'{_endpoint()}/{source.repository}'
    if source.file:
        return f'bring {page}/resolve/{source.revision}/{source.file} here and give its path'
    return (
        f'bring {_CONFIG} and {" or ".join(WEIGHT_FILES)} of {page}/tree/{source.revision} into a '
        'folder here and give its path'
    )


def _refusal(source: HubSource, error: Exception) -> CheckpointError:
    """What an error means for a user."""
    from huggingface_hub import errors

    name, endpoint = source.repository, _endpoint()
    page, log_in = f'{endpoint}/{name}', 'log in with "hf auth login" or set HF_TOKEN'
    known = {
        errors.GatedRepoError: f'is given to those who ask for it: ask on {page}, then {log_in}',
        errors.RepositoryNotFoundError: 'is neither a file or folder here nor a repository of '
        f'{endpoint}; if it is a private one, {log_in}',
        errors.RevisionNotFoundError: f'has no revision {source.revision}: give a branch, a tag or '
        f'a commit that {page}/commits lists',
        errors.EntryNotFoundError: f'has no file {source.file}: give one that '
        f'{page}/tree/{source.revision} lists',
    }
    for kind, refusal in known.items():  # the first is one of the second
        if isinstance(error, kind) and _is_of_the_hub(error):
            return CheckpointError(f'{name} {refusal}')
    if isinstance(error, OSError) and error.errno is not None:  # those of the network have none
        return CheckpointError(
            f'{name} cannot be kept in {_cache()} ({error.strerror}): make room or give leave to '
            'write there, or name another folder by the variable HF_HOME'
        )
    cause = error.__cause__ or error
    reason = (str(cause).strip().split('\n')[0] or type(cause).__name__).rstrip('.')
    return CheckpointError(
        f'{name} is not here and cannot be fetched from {endpoint} ({reason}): set HF_ENDPOINT '
        f'to the URL of a mirror, or {_by_hand(source)}'
    )
