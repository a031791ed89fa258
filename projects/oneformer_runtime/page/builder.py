"""Build a static folder of the page, an exported model, and onnxruntime-web."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import cv2

from ..description import FILE_NAME
from ..model_json import read_description
from ..network import Network
from ..reading import load_image
from .onnxruntime_web import NOTICE, VERSION, runtime_files
from .self_check import make_check

ASSETS = Path(__file__).resolve().parent / 'assets'
FORMAT_VERSION = 1
PAGE = 'page.json'  # marks a folder as one of this builder
MODEL, RUNTIME, EXAMPLES = 'model', 'onnxruntime-web', 'examples'
# what hosts of static pages read: only isolated pages have threads
HEADERS = {
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Embedder-Policy': 'require-corp',
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
}
_EXAMPLE_SIDE = 1024  # pixels of the long side of given examples


def build_page(
    folder: str | os.PathLike,
    out_dir: str | os.PathLike,
    onnxruntime_web: str | os.PathLike | None = None,
    examples: Sequence[str | os.PathLike] = (),
) -> Path:
    """Write a folder that any server of files can serve, and return its path.

    It is written beside and takes its name when it is complete.

    Args:
        folder: Folder of an exported model.
        out_dir: Folder to write; one that this has written is replaced.
        onnxruntime_web: npm package as ``.tgz`` or folder, see ``runtime_files``.
        examples: Images that the page offers; the default are drawn ones of its own.

    Raises:
        FileNotFoundError: If a model or an image does not exist.
        FileExistsError: If ``out_dir`` has other content.
        DescriptionError: If the model cannot be used.
        RuntimeMissingError: If onnxruntime-web cannot be had.
        ValueError: For an example that is not an image.
    """
    out_dir = Path(out_dir).absolute()
    _check_free(out_dir)
    description = read_description(folder)
    network = Network(folder, description)
    runtime = runtime_files(onnxruntime_web)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=out_dir.parent, prefix=f'.{out_dir.name[:40]}-'
    ) as scratch:
        target = Path(scratch) / 'page'
        shutil.copytree(ASSETS, target, ignore=shutil.ignore_patterns(PAGE))
        if examples:
            _write_examples(target / EXAMPLES, examples)
        (target / MODEL).mkdir()
        shutil.copyfile(network.path, target / MODEL / description.graph)
        shutil.copyfile(Path(folder) / FILE_NAME, target / MODEL / FILE_NAME)
        (target / RUNTIME).mkdir()
        for name, content in runtime.items():
            (target / RUNTIME / name).write_bytes(content)
        (target / RUNTIME / 'NOTICE.txt').write_text(NOTICE)
        (target / '_headers').write_text(_headers_file())
        _write_json(target / 'check.json', make_check(network))
        _write_json(target / PAGE, _page(target, f'{MODEL}/{description.graph}'))
        target.chmod(0o755)  # others may have to serve it
        _swap(target, out_dir, Path(scratch) / 'before')
    return out_dir


def _check_free(out_dir: Path) -> None:
    if out_dir.is_file() or out_dir.is_dir() and any(out_dir.iterdir()) and not _is_page(out_dir):
        raise FileExistsError(
            f'{out_dir} exists and is not a page of this command: delete it, or choose another '
            'folder'
        )


def _is_page(folder: Path) -> bool:
    return (folder / PAGE).is_file() and (folder / 'index.html').is_file()


def _swap(new: Path, out_dir: Path, before: Path) -> None:
    """Give the new folder its name; what had it goes to ``before``, and comes back on an error."""
    if out_dir.exists():
        out_dir.replace(before)
    try:
        new.replace(out_dir)
    except OSError:
        if before.exists():
            before.replace(out_dir)
        raise


def _entry(target: Path, name: str) -> dict:
    content = (target / name).read_bytes()
    return dict(file=quote(name), bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _page(target: Path, graph: str) -> dict:
    """Content of ``page.json``."""
    return dict(
        format_version=FORMAT_VERSION,
        backend='wasm',
        description=f'{MODEL}/{FILE_NAME}',
        check='check.json',
        graph=_entry(target, graph),
        wasm=_entry(target, f'{RUNTIME}/ort-wasm-simd-threaded.wasm'),
        script=f'{RUNTIME}/ort-wasm-simd-threaded.js',
        runtime=f'{RUNTIME}/ort.js',
        onnxruntime_web=VERSION,
    )


def _headers_file() -> str:
    """Headers for all files, in the format of Netlify and Cloudflare Pages."""
    return '/*\n' + ''.join(f'  {name}: {value}\n' for name, value in HEADERS.items())


def _write_json(path: Path, content: dict | list) -> None:
    path.write_text(json.dumps(content, allow_nan=False) + '\n', encoding='utf-8')


def _write_examples(folder: Path, images: Sequence[str | os.PathLike]) -> None:
    """Replace the examples of the page by other images, upright and of screen size, as JPEG."""
    shutil.rmtree(folder)
    folder.mkdir()
    listed = []
    for number, path in enumerate(images):
        pixels = load_image(path).pixels
        factor = min(1.0, _EXAMPLE_SIDE / max(pixels.shape[:2]))
        if factor < 1:
            pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        name = f'{number}.jpg'
        done, content = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
        if not done:
            raise ValueError(f'image {os.fspath(path)} cannot be written as JPEG: give another')
        (folder / name).write_bytes(content.tobytes())
        listed.append(dict(file=name, label=Path(path).stem))
    _write_json(folder / 'examples.json', listed)
