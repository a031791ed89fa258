"""Files of URLs: fetched once, whole and checked, and kept beside those of torch.hub."""

import hashlib
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from threading import get_native_id
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch
from mmengine.logging import print_log
from torch.hub import tqdm

from ..host.errors import CheckpointError
from ..host.safe_io import replacing

# of files that hold weights
ENDINGS = ('.pth', '.pt', '.ckpt', '.bin', '.pkl', '.pyth', '.safetensors', '.tar', '.zip')

_SECONDS = 60  # without a byte
_ATTEMPTS = 4  # in a row that bring nothing new
_PAUSE = 1.0  # seconds before another attempt, doubled each time
_BLOCK = 1 << 16  # of which a reset connection loses what it has
_BUSY = (408, 429, 500, 502, 503, 504)  # answers of a server that may do better later
# what no file of weights begins with
_NO_WEIGHTS = {
    'a web page': re.compile(rb'\s*<(!doctype|html|head|body|\?xml|!--)', re.IGNORECASE),
    'a pointer of Git LFS': re.compile(rb'version https://git-lfs'),
}


class _Refused(Exception):
    """What a server has is of no use."""


class _Broken(_Refused):
    """A connection ended early; another may do better."""


def hash_in_name(name: str) -> str | None:
    """First digits of the sha256 that a file's name ends with, as torch.hub and OpenMMLab publish.

    Eight decimal digits are taken for a date.
    """
    found = re.search(r'-([0-9a-f]{8,64})\.\w+$', name)
    return found[1] if found and not re.fullmatch(r'\d{8}', found[1]) else None


def place_of(url: str) -> Path:
    """Where the file of a URL is kept.

    That is ``checkpoints/`` of torch.hub's folder, which ``TORCH_HOME`` moves: directly there if
    the name has a hash, where torch.hub looks for it, too, and else under the host and the folders
    of the URL, since many files are called ``model.pth``.

    Raises:
        CheckpointError: If it is not the URL of a file.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise CheckpointError(f'{url} is not a URL ({error}): give the URL of a file') from error
    names = [name for name in parts.path.split('/') if name not in ('', '.', '..')]
    if not names:
        raise CheckpointError(f'{url} names no file: give the URL of a file')
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    if hash_in_name(names[-1]):
        return folder / names[-1]
    if parts.query and not names[-1].endswith(ENDINGS):  # as in /download?id=7
        names[-1] += f'_{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}'
    return folder.joinpath(parts.netloc.rpartition('@')[2].replace(':', '_'), *names)


def find_download(url: str, size: int | None = None) -> Path | None:
    """The file of a URL if it was downloaded before, or put there by hand.

    Args:
        url: URL of the file.
        size: Its bytes, if they are known. A file of another size is not taken, which is logged.
    """
    path = place_of(url)
    if not path.is_file():
        return None
    found = path.stat().st_size
    if size is not None and found != size:
        print_log(
            f'{path} has {found} bytes instead of {size}: {url} is downloaded anew', 'current'
        )
        return None
    return path


def download(url: str, size: int | None = None, sha256: str | None = None) -> Path:
    """Path of the file of a URL, which is downloaded unless it is there.

    It appears under its name when it is complete. After a break the rest is asked for. Processes
    that want the same file wait for the one that downloads it.

    Args:
        url: URL of the file, http or https.
        size: Its bytes, if they are known; else what the server says holds.
        sha256: Of its content, or the first digits; else those in its name hold, if it has some.

    Raises:
        CheckpointError: With the reason, and where to put the file by hand.
    """
    path = place_of(url)
    if found := find_download(url, size):
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            if not (found := find_download(url, size)):  # by the process that was waited for
                ending = f'.{get_native_id()}.tmp'
                with replacing(path, ending=ending) as temporary, temporary.open('wb') as file:
                    _Transfer(url, file, size).run(sha256 or hash_in_name(path.name))
    except _Refused as error:
        raise CheckpointError(
            f'{url} cannot be downloaded ({error}): put the file at {path}, or give the path of a '
            'file in place of the URL (a proxy is set by the variable HTTPS_PROXY)'
        ) from error
    except OSError as error:  # of the file system: those of the network are refusals
        raise CheckpointError(
            f'{url} cannot be kept in {path.parent} ({error.strerror or error}): make room or give '
            'leave to write there, or name another folder by the variable TORCH_HOME'
        ) from error
    return found or path


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes, which want the same file, from downloading it at the same time."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f'.{path.name[:40]}.lock'))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print_log(f'another process downloads {path}: waiting for it', 'current')
        lock.acquire()
    except NotImplementedError:  # file systems without locks, where each brings its own copy
        pass
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


class _Transfer:
    """A file on its way from a URL to an empty file, of ``size`` bytes if they are known."""

    def __init__(self, url: str, file: BinaryIO, size: int | None) -> None:
        self.url, self.file, self.recorded = url, file, size
        self.total, self.version = size, ''
        self.received, self.digest = 0, hashlib.sha256()

    def run(self, sha256: str | None) -> None:
        """Bring all of it.

        Raises:
            _Refused: If that fails, or it has another hash.
        """
        failures = most = 0
        while True:
            try:
                self._receive()
                break
            except _Broken:
                failures = 0 if self.received > most else failures + 1
                most = max(most, self.received)
                if failures == _ATTEMPTS:
                    raise
                time.sleep(_PAUSE * 2 ** (failures - 1))
        found = self.digest.hexdigest()
        if sha256 and not found.startswith(sha256.lower()):
            raise _Refused(f'its sha256 is {found}, not {sha256}: it is damaged or another file')

    def _receive(self) -> None:
        """Bring what is missing, by one request."""
        with self._answer() as response:
            self._begin(response)
            bar = tqdm(
                desc=place_of(self.url).name,
                total=self.total,
                initial=self.received,
                unit='B',
                unit_scale=True,
            )
            with bar:
                while block := self._read(response):
                    self._take(block)
                    bar.update(len(block))
        if self.total is not None and self.received < self.total:
            raise _Broken(self._missing())

    def _answer(self) -> HTTPResponse:
        headers = {'User-Agent': 'oneformer'}
        if self.received:
            headers['Range'] = f'bytes={self.received}-'
            if self.version:  # of another version the server sends all
                headers['If-Range'] = self.version
        try:
            return urlopen(Request(self.url, headers=headers), timeout=_SECONDS)
        except HTTPError as error:
            if error.code == 416:
                self._restart()
            again = error.code in (*_BUSY, 416)
            raise (_Broken if again else _Refused)(f'{error.code} {error.reason}') from error
        except (OSError, HTTPException, ValueError) as error:  # ValueError: a malformed URL
            reason = getattr(error, 'reason', None) or error
            raise (_Broken if self.received else _Refused)(reason) from error

    def _begin(self, response: HTTPResponse) -> None:
        """Read what the server says of the file, and where its answer starts."""
        total = response.length
        if response.status == 206:
            span = re.match(r'bytes (\d+)-\d+/(\d+)', response.headers.get('Content-Range', ''))
            start, total = map(int, span.groups()) if span else (None, None)
            if start != self.received or total != (self.total or total):
                self._restart()
                raise _Broken('the server went on with another part, or another file')
        elif self.received:
            self._restart()
        if total is not None and self.recorded not in (None, total):
            raise _Refused(f'the server has {total} bytes there, not {self.recorded} as recorded')
        self.total = self.recorded or total
        etag = response.headers.get('ETag', '')
        self.version = etag if etag.startswith('"') else response.headers.get('Last-Modified', '')
        free = shutil.disk_usage(Path(self.file.name).parent).free
        if self.total is not None and self.total - self.received > free:
            raise OSError(f'{self.total - self.received} bytes are needed and {free} are free')

    def _read(self, response: HTTPResponse) -> bytes:
        try:
            return response.read(_BLOCK)
        except (OSError, HTTPException) as error:
            raise _Broken(f'{self._missing()}: {error}') from error

    def _take(self, block: bytes) -> None:
        if not self.received:
            for kind, beginning in _NO_WEIGHTS.items():
                if beginning.match(block):
                    raise _Refused(
                        f'the server answers with {kind}, not with the file; a login, a proxy or '
                        'the link of a page may be the cause'
                    )
        self.file.write(block)
        self.digest.update(block)
        self.received += len(block)
        if self.total is not None and self.received > self.total:
            raise _Refused(f'the server sends more than the {self.total} bytes of the file')

    def _restart(self) -> None:
        """Forget what has arrived."""
        self.file.seek(0)
        self.file.truncate()
        self.received, self.digest, self.total = 0, hashlib.sha256(), self.recorded
        self.version = ''

    def _missing(self) -> str:
        if self.total is None:
            return f'the connection broke off after {self.received} bytes'
        return f'the last {self.total - self.received} bytes are missing'
