"""Checkpoints that are given by URL."""

from fnmatch import fnmatch
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
from mmengine.dist import barrier, is_main_process
from torch.hub import tqdm

from ..host.errors import CheckpointError
from ..host.safe_io import replacing

_SECONDS = 60  # without an answer
_BLOCK = 1 << 20


def local_file(source: str) -> Path:
    """Path of a file or folder; a URL is downloaded once, to where torch.hub keeps its files.

    Raises:
        CheckpointError: If it cannot be downloaded.
    """
    if not source.startswith(('http://', 'https://')):
        return Path(source).expanduser()
    url = urlparse(source)
    name = Path(url.path).name
    if any(fnmatch(name, pattern) for pattern in ('model*.safetensors', 'pytorch_model*.bin')):
        # which all models on Hugging Face's hub are called
        name = f'{url.netloc}{url.path}'.replace('/', '_')
    path = Path(torch.hub.get_dir()) / 'checkpoints' / name
    try:
        if is_main_process() and not path.exists():
            _download(source, path)
    finally:
        barrier()  # also if it fails, or the others would wait for ever
    if not path.exists():  # on another machine of the same run
        _download(source, path)
    return path


def _download(url: str, path: Path) -> None:
    """Bring a file here, whole or not at all."""
    try:
        with urlopen(Request(url), timeout=_SECONDS) as response, replacing(path) as temporary:
            _copy(response, temporary)
    except (OSError, HTTPException) as error:
        reason = getattr(error, 'reason', None) or error
        raise CheckpointError(
            f'{url} cannot be downloaded ({reason}): put the file at {path}, or give the path of a '
            'file in place of the URL'
        ) from error


def _copy(response: HTTPResponse, path: Path) -> None:
    """Write what a server sends into a file, with a progress bar."""
    bar = tqdm(total=response.length, unit='B', unit_scale=True, disable=not is_main_process())
    with bar, path.open('wb') as file:
        while block := response.read(_BLOCK):
            file.write(block)
            bar.update(len(block))
    if response.length:  # what is still to come, where the server said how much there is
        raise OSError(f'the last {response.length} bytes are missing')


def delete_hint(source: str, path: Path) -> str:
    """What to do about a broken file that was downloaded, as some networks answer with a page."""
    return f'. If the download is at fault, delete {path}' if str(path) != source else ''
