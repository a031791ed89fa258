"""``oneformer page``: the folder that it writes, what it refuses, and the page's own files."""

import hashlib
import http.client
import io
import json
import re
import tarfile
import threading
from pathlib import Path

import cv2
import numpy as np
import oneformer_cli
import onnxruntime
import pytest
from onnx_graphs import Linear, write_folder

from oneformer_runtime.description import ImageSettings, ModelDescription, Thresholds
from oneformer_runtime.page import ASSETS, onnxruntime_web
from oneformer_runtime.page.self_check import pattern
from oneformer_runtime.page.static_server import make_server

NAMES = ('ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm')
CONTENTS = {name: f'content of {name}'.encode() for name in NAMES}


@pytest.fixture(autouse=True)
def small_package(monkeypatch, tmp_path):
    """A package of npm of a few bytes, which stands for onnxruntime-web; and an empty cache."""
    written = {name: onnxruntime_web.FILES[name][0] for name in NAMES}
    files = {
        name: (written[name], hashlib.sha256(content).hexdigest())
        for name, content in CONTENTS.items()
    }
    monkeypatch.setattr(onnxruntime_web, 'FILES', files)
    monkeypatch.setenv(onnxruntime_web.CACHE, str(tmp_path / 'cache'))


def write_archive(path, contents=CONTENTS):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w:gz') as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f'package/dist/{name}')
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def package(tmp_path):
    return write_archive(tmp_path / 'package.tgz')


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    settings = ImageSettings(64, 128, 32, (127.0, 127.0, 127.0))
    description = ModelDescription(('a', 'b', 'c'), ('a',), settings, Thresholds(0.5, 0.5, 10))
    return write_folder(tmp_path_factory.mktemp('model'), description, Linear.random(3, 6))


@pytest.fixture
def page(capsys, tmp_path):
    """Run the command; its exit code, and what it printed."""

    def run(*words):
        code = oneformer_cli.main(['page', *map(str, words)])
        captured = capsys.readouterr()
        return code or 0, captured.out + captured.err

    return run


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file()}


def test_a_folder_holds_page_model_and_runtime_and_says_what_they_are(
    page, exported, package, tmp_path
):
    out = tmp_path / 'page'
    code, printed = page(exported, '--out', out, '--onnxruntime-web', package)
    assert code == 0, printed
    assert f'python -m http.server -d {out}' in printed
    assert files_of(out) == files_of(ASSETS) | {
        *('_headers', 'check.json', 'page.json', 'model/model.json', 'model/model.onnx'),
        *('onnxruntime-web/NOTICE.txt', 'onnxruntime-web/ort.js'),
        *(
            'onnxruntime-web/ort-wasm-simd-threaded.js',
            'onnxruntime-web/ort-wasm-simd-threaded.wasm',
        ),
    }
    said = json.loads((out / 'page.json').read_text())
    assert said['backend'] == 'wasm'
    for key in ('graph', 'wasm'):
        content = (out / said[key]['file']).read_bytes()
        assert said[key]['bytes'] == len(content)
        assert said[key]['sha256'] == hashlib.sha256(content).hexdigest()
    for key in ('description', 'check', 'script', 'runtime'):
        assert (out / said[key]).is_file()
    assert 'Cross-Origin-Embedder-Policy: require-corp' in (out / '_headers').read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith('.')] == []


def test_the_check_has_the_numbers_of_onnxruntime(page, exported, package, tmp_path):
    page(exported, '--out', tmp_path / 'page', '--onnxruntime-web', package)
    check = json.loads((tmp_path / 'page/check.json').read_text())
    height, width = check['size']
    assert height % 32 == width % 32 == 0 and height != width
    session = onnxruntime.InferenceSession(str(exported / 'model.onnx'))
    inputs = dict(image=pattern(height, width), tasks=np.array([[0, 1, 2]]))
    for name, values in zip(
        ('classes', 'masks'), session.run(['class_logits', 'mask_logits'], inputs)
    ):
        stored = check[name]
        assert stored['length'] == values.size
        np.testing.assert_allclose(
            stored['values'], values.ravel()[:: stored['stride']], rtol=1e-5, atol=1e-5
        )
        assert 30 < len(stored['values']) < 1300
    assert check['words'] == ['panoptic', 'instance', 'semantic']


def test_a_page_is_replaced_and_other_content_is_refused(page, exported, package, tmp_path):
    out = tmp_path / 'page'
    page(exported, '--out', out, '--onnxruntime-web', package)
    (out / 'old.txt').write_text('of before')
    assert page(exported, '--out', out, '--onnxruntime-web', package)[0] == 0
    assert not (out / 'old.txt').exists()

    mine = tmp_path / 'mine'
    mine.mkdir()
    (mine / 'thesis.txt').write_text('years of work')
    code, printed = page(exported, '--out', mine, '--onnxruntime-web', package)
    assert code == 1 and f'{mine} exists and is not a page of this command' in printed
    assert files_of(mine) == {'thesis.txt'}


def test_examples_may_be_images_of_ones_own(page, exported, package, tmp_path):
    for name, size in {'wide': (50, 1500), 'small': (20, 30)}.items():
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.full((*size, 3), 77, np.uint8))
    out = tmp_path / 'page'
    images = [tmp_path / 'wide.png', tmp_path / 'small.png']
    words = [exported, '--out', out, '--onnxruntime-web', package, '--examples', *images]
    assert page(*words)[0] == 0
    examples = json.loads((out / 'examples/examples.json').read_text())
    assert [example['label'] for example in examples] == ['wide', 'small']
    shapes = [cv2.imread(str(out / 'examples' / example['file'])).shape for example in examples]
    assert shapes == [(34, 1024, 3), (20, 30, 3)]
    assert len(files_of(out / 'examples')) == 3

    (tmp_path / 'text.png').write_text('no image')
    code, printed = page(*words[:-2], tmp_path / 'text.png')
    assert code == 1 and 'text.png is not an image' in printed
    assert json.loads((out / 'examples/examples.json').read_text()) == examples


@pytest.mark.parametrize('place', ['package/dist', 'dist', '.'])
def test_the_runtime_may_be_a_folder(page, exported, tmp_path, place):
    folder = tmp_path / 'unpacked' / place
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    out = tmp_path / 'page'
    assert page(exported, '--out', out, '--onnxruntime-web', tmp_path / 'unpacked')[0] == 0
    assert (out / 'onnxruntime-web/ort.js').read_bytes() == CONTENTS['ort.wasm.min.mjs']


def test_the_runtime_is_fetched_by_npm_once(page, exported, tmp_path, monkeypatch):
    """An npm that writes a package, notes each call, and another time gives another content."""
    package = write_archive(tmp_path / 'given.tgz')
    tools, calls = tmp_path / 'bin', tmp_path / 'calls'
    tools.mkdir()
    npm = tools / 'npm'
    npm.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n/bin/cp {package} ./onnxruntime-web.tgz\n')
    npm.chmod(0o755)
    monkeypatch.setenv('PATH', str(tools))
    out = tmp_path / 'page'
    code, printed = page(exported, '--out', out)  # the content is not the one that is known
    assert code == 1 and 'does not have the content that is known of it' in printed
    assert not out.exists() and list((tmp_path / 'cache').iterdir()) == []

    digest = onnxruntime_web.base64.b64encode(hashlib.sha512(package.read_bytes()).digest())
    monkeypatch.setattr(onnxruntime_web, 'INTEGRITY', digest.decode())
    for _ in range(2):
        assert page(exported, '--out', out)[0] == 0
    asked = calls.read_text().splitlines()
    assert len(asked) == 2  # the first was refused
    assert asked[1].startswith(f'pack onnxruntime-web@{onnxruntime_web.VERSION} ')

    npm.write_text('#!/bin/sh\necho "npm error network is unreachable" >&2\nexit 1\n')
    monkeypatch.setenv(onnxruntime_web.CACHE, str(tmp_path / 'other'))
    code, printed = page(exported, '--out', out)
    assert code == 1 and 'network is unreachable' in printed and '--onnxruntime-web' in printed
    npm.unlink()
    code, printed = page(exported, '--out', out)
    assert code == 1 and 'npm is not installed: install npm, or fetch' in printed


@pytest.mark.parametrize(
    'damage, words',
    [
        (lambda path: path.unlink(), 'does not exist'),
        (
            lambda path: path.write_bytes(path.read_bytes()[:60]),
            'is not a package of npm, or damaged',
        ),
        (
            lambda path: write_archive(path, {**CONTENTS, NAMES[2]: b'other'}),
            'ort-wasm-simd-threaded.wasm of',
        ),
        (lambda path: write_archive(path, {NAMES[0]: CONTENTS[NAMES[0]]}), 'has no dist/'),
    ],
)
def test_a_wrong_runtime_is_named_with_a_remedy(page, exported, package, tmp_path, damage, words):
    damage(package)
    code, printed = page(exported, '--out', tmp_path / 'page', '--onnxruntime-web', package)
    assert code == 1
    assert words in printed and 'npm pack onnxruntime-web@' in printed
    assert not (tmp_path / 'page').exists()


def test_a_folder_without_a_model_is_named(page, package, tmp_path):
    code, printed = page(tmp_path, '--out', tmp_path / 'page', '--onnxruntime-web', package)
    assert code == 1 and 'give the folder of an exported OneFormer' in printed


@pytest.mark.parametrize('isolated', [True, False])
def test_the_server_of_a_page_sends_types_and_headers(page, exported, package, tmp_path, isolated):
    out = tmp_path / 'page'
    page(exported, '--out', out, '--onnxruntime-web', package)
    with make_server(out, isolated=isolated) as server:
        assert server.server_address[0] == '127.0.0.1'
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        wanted = {
            '/': 'text/html; charset=utf-8',
            '/js/app.js': 'text/javascript',
            '/onnxruntime-web/ort-wasm-simd-threaded.wasm': 'application/wasm',
            '/page.json': 'application/json',
        }
        connection = http.client.HTTPConnection(*server.server_address)
        for path, kind in wanted.items():
            connection.request('GET', path)
            response = connection.getresponse()
            response.read()
            assert (response.status, response.headers['Content-Type']) == (200, kind)
            policy = response.headers['Cross-Origin-Embedder-Policy']
            assert policy == ('require-corp' if isolated else None)
        connection.request('GET', '/../../etc/passwd')
        response = connection.getresponse()
        response.read()
        assert response.status == 404
        connection.request('GET', '/page.json', headers={'Host': 'evil.example'})
        assert connection.getresponse().status == 421
        server.shutdown()
        thread.join()
    with pytest.raises(FileNotFoundError, match='give a folder of "oneformer page"'):
        make_server(tmp_path)


def test_options_of_serving_are_checked_before_anything_is_built(page, exported, tmp_path):
    words = [exported, '--out', tmp_path / 'page', '--onnxruntime-web', tmp_path / 'none']
    assert '--port is of --serve' in page(*words, '--port', 80)[1]
    code, printed = page(*words, '--serve', '--port', 70000)
    assert code == 1 and '--port is 70000' in printed


def test_a_large_page_is_built_with_advice(page, exported, package, tmp_path, monkeypatch):
    monkeypatch.setattr('oneformer_runtime.page.command._MUCH', 1000)
    code, printed = page(exported, '--out', tmp_path / 'page', '--onnxruntime-web', package)
    assert code == 0 and 'let a server predict' in printed


# the page's own files

HTML = (ASSETS / 'index.html').read_text()
SCRIPTS = {path.name: path.read_text() for path in (ASSETS / 'js').glob('*.js')}


def test_the_page_loads_nothing_from_elsewhere_and_holds_no_inline_code():
    for name, text in {'index.html': HTML, **SCRIPTS}.items():
        found = set(re.findall(r'(?:https?:)?//[\w.-]+\.\w+', text))
        assert not found, (name, found)
    assert not re.search(r'<script(?![^>]*\ssrc=)', HTML)
    assert not re.search(r'<style|\sstyle=|\son\w+=', HTML)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', HTML)
    rules = dict(rule.strip().split(' ', 1) for rule in policy.split(';'))
    assert rules['default-src'] == "'none'"
    assert rules['script-src'] == "'self' 'wasm-unsafe-eval'"
    assert rules['connect-src'] == "'self'"


def test_every_element_that_the_code_asks_for_is_in_the_page_and_every_module_is_a_file():
    ids = re.findall(r'\bid="([\w-]+)"', HTML)
    assert len(ids) == len(set(ids))
    asked = {i for text in SCRIPTS.values() for i in re.findall(r"\bfind\('([\w-]+)'\)", text)}
    assert len(asked) > 30 and asked <= set(ids)
    for name, text in SCRIPTS.items():
        for imported in re.findall(r"from '\./([\w.]+)'", text):
            assert imported in SCRIPTS, (name, imported)
    reached, waiting = set(), ['app.js', 'worker.js']
    while waiting:
        name = waiting.pop()
        reached.add(name)
        found = re.findall(r"from '\./([\w.]+)'", SCRIPTS[name])
        waiting += [other for other in found if other not in reached]
    assert reached == set(SCRIPTS)


def test_examples_of_the_page_are_small_files_with_a_name():
    listed = json.loads((ASSETS / 'examples/examples.json').read_text())
    assert {example['file'] for example in listed} | {'examples.json'} == files_of(
        ASSETS / 'examples'
    )
    for example in listed:
        path: Path = ASSETS / 'examples' / example['file']
        assert path.stat().st_size < 40_000 and len(example['label']) > 10
        assert cv2.imread(str(path)) is not None
