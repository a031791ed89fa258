"""The files of onnxruntime-web that a page needs, from its npm package of one version."""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = '1.30.0'
# SHA-512 of the package, as npm writes it
INTEGRITY = (
    'q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=='
)
# in the package: name in the page (servers know the type of .js, not all that of .mjs), SHA-256
FILES = {
    'ort.wasm.min.mjs': (
        'ort.js',
        '219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b',
    ),
    'ort-wasm-simd-threaded.mjs': (
        'ort-wasm-simd-threaded.js',
        'e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b',
    ),
    'ort-wasm-simd-threaded.wasm': (
        'ort-wasm-simd-threaded.wasm',
        '3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2',
    ),
}
# goes with the files, as their licence asks
NOTICE = f"""onnxruntime-web {VERSION}
{', '.join(f'{written} is dist/{name}' for name, (written, _) in FILES.items())}

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
CACHE = 'ONEFORMER_CACHE'  # environment variable
_PACKAGE = f'onnxruntime-web@{VERSION}'
_REMEDY = (
    f'install npm, or fetch the package elsewhere ("npm pack {_PACKAGE}") and give it: '
    '--onnxruntime-web FILE.tgz, or a folder of it'
)


class RuntimeMissingError(RuntimeError):
    """onnxruntime-web cannot be had, or is not the version that the page is written for."""


def cache_folder() -> Path:
    """Folder in which the package is kept, by ``ONEFORMER_CACHE`` or ``XDG_CACHE_HOME``."""
    if own := os.environ.get(CACHE):
        return Path(own)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'oneformer'


def runtime_files(source: str | os.PathLike | None = None) -> dict[str, bytes]:
    """Contents of the files, by their names in the page.

    Args:
        source: The npm package as ``.tgz``, or a folder of it; by default it is taken from the
            cache, and if it is not there from npm, once.

    Raises:
        FileNotFoundError: If ``source`` does not exist.
        RuntimeMissingError: If it lacks a file or has another version, and without npm.
    """
    if source is None:
        source = cache_folder() / f'onnxruntime-web-{VERSION}.tgz'
        if not source.is_file():
            _fetch(source)
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f'{source} does not exist: {_REMEDY}')
    found = {}
    for name, content in _read(source).items():
        written, digest = FILES[name]
        if hashlib.sha256(content).hexdigest() != digest:
            raise RuntimeMissingError(
                f'{name} of {source} is not that of version {VERSION}, for which the page is '
                f'written and tested: delete it if it is damaged, and {_REMEDY}'
            )
        found[written] = content
    return found


def _read(source: Path) -> dict[str, bytes]:
    """Contents of the files, by their names in the package."""
    read = _read_folder if source.is_dir() else _read_archive
    found = read(source)
    if missing := FILES.keys() - found.keys():
        raise RuntimeMissingError(f'{source} has no dist/{min(missing)}: {_REMEDY}')
    return found


def _read_folder(folder: Path) -> dict[str, bytes]:
    places = [folder / 'dist', folder / 'package' / 'dist', folder]
    place = next((p for p in places if (p / 'ort.wasm.min.mjs').is_file()), folder)
    return {name: (place / name).read_bytes() for name in FILES if (place / name).is_file()}


def _read_archive(archive: Path) -> dict[str, bytes]:
    found = {}
    try:
        with tarfile.open(archive) as package:
            for name in FILES:
                try:
                    member = package.extractfile(f'package/dist/{name}')
                except KeyError:
                    continue
                if member is not None:
                    found[name] = member.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise RuntimeMissingError(
            f'{archive} is not a package of npm, or damaged ({error}): delete it, and {_REMEDY}'
        ) from error
    return found


def _fetch(target: Path) -> None:
    """Let npm fetch the package, by its own settings for registries and proxies."""
    npm = shutil.which('npm')
    if npm is None:
        raise RuntimeMissingError(
            f'{_PACKAGE} is not in {target.parent}, and npm is not installed: {_REMEDY}'
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix='.npm-') as scratch:
        command = [
            npm,
            'pack',
            _PACKAGE,
            '--silent',
            '--ignore-scripts',
            '--pack-destination',
            scratch,
        ]
        try:
            subprocess.run(
                command, cwd=scratch, check=True, capture_output=True, text=True, timeout=600
            )
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, 'stderr', None) or str(error)).strip().splitlines()
            raise RuntimeMissingError(
                f'npm could not fetch {_PACKAGE} ({said[-1] if said else error}): check the '
                f'network and the settings of npm, or {_REMEDY}'
            ) from error
        (archive,) = Path(scratch).glob('*.tgz')
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if digest != INTEGRITY:
            raise RuntimeMissingError(
                f'what npm fetched as {_PACKAGE} does not have the content that is known of it: '
                f'see which registry npm is set to, or {_REMEDY}'
            )
        archive.replace(target)
