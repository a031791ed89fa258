"""A server on this machine that has files of weights, and fails in the ways that servers do."""

import http.server
import json
import re
import socket
import threading
import time
from types import SimpleNamespace

from oneformer import zoo
from oneformer.weights import downloads

CONNECT, HERE = socket.socket.connect, ('127.0.0.1', '::1')
COMMIT = 'c0ffee0' * 5 + 'c0ffe'  # 40 digits


class WeightServer(http.server.ThreadingHTTPServer):
    """Answers requests by ``files`` and ``repositories``.

    Attributes:
        files: Content by path.
        faults: By path what goes wrong, see ``Handler.send_file``; one of a list per request.
        repositories: Of a hub: content by file, by ``owner/name`` and revision.
        asked: Requests: method, path, and the range that is asked for.
        url: Address.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.files, self.faults, self.repositories, self.asked = {}, {}, {}, []
        self.url = f'http://127.0.0.1:{self.server_port}'

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs=dict(poll_interval=0.01)).start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """No network from now on."""
        self.shutdown()
        self.server_close()

    def paths(self, method='GET'):
        """Paths that were asked for."""
        return [path for asked, path, _ in self.asked if asked == method]


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        server = self.server
        self.path = self.path.partition('?')[0]
        server.asked.append((self.command, self.path, self.headers.get('Range')))
        fault = server.faults.get(self.path)
        if isinstance(fault, list):
            fault = fault.pop(0) if fault else None
        match = re.fullmatch(r'/([^/]+/[^/]+)/resolve/([^/]+)/(.+)', self.path)
        if match:
            self.send_of_repository(*match.groups(), fault)
        elif self.path in server.files or fault:
            self.send_file(server.files.get(self.path, b''), fault)
        else:
            self.send_error(404)

    def send_of_repository(self, name, revision, file, fault):
        revisions = self.server.repositories.get(name)
        code = None
        if revisions is None:
            code = 'RepoNotFound'
        elif 'gated' in revisions:
            code = 'GatedRepo'
        elif revision not in revisions and revision != COMMIT:
            code = 'RevisionNotFound'
        else:
            files = revisions.get(revision, revisions.get('main'))
            if file not in files:
                code = 'EntryNotFound'
        if code:
            status = 403 if code == 'GatedRepo' else 404
            self.answer(status, 0, {'X-Error-Code': code, 'X-Repo-Commit': COMMIT})
        else:
            self.send_file(files[file], fault, {'X-Repo-Commit': COMMIT})

    def answer(self, status, length, headers):
        self.send_response(status)
        if length is not None:
            self.send_header('Content-Length', str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_file(self, content, fault=None, headers=None):
        """Send a file, or what a fault makes of it.

        ``503`` and other numbers: that status. ``cut``: only its first half, of any part of it.
        ``cut, no ranges``: and it is always sent from its beginning. ``changed``: half of another,
        longer version. ``slow`` and ``stalls``: in halves with a pause. ``unsaid``: without its
        length. ``to PATH``: a redirection, as the hub sends to where large files are.
        """
        headers = {'ETag': f'"{hash(content)}"', **(headers or {})}
        fault = fault or ''
        if isinstance(fault, int):
            return self.send_error(fault)
        if fault.startswith('to '):
            linked = {'X-Linked-ETag': headers['ETag'], 'X-Linked-Size': str(len(content))}
            return self.answer(302, 0, {**headers, **linked, 'Location': fault[3:]})
        if fault == 'changed':
            content, headers['ETag'] = bytes(3 * len(content)), '"older"'
        status, start = 200, re.match(r'bytes=(\d+)-', self.headers.get('Range', ''))
        version = self.headers.get('If-Range')
        if start and fault != 'cut, no ranges' and version in (None, headers['ETag']):
            start, status = int(start[1]), 206
            headers['Content-Range'] = f'bytes {start}-{len(content) - 1}/{len(content)}'
            content = content[start:]
        half = len(content) // 2
        if fault == 'unsaid':
            self.close_connection = True
        self.answer(status, None if fault == 'unsaid' else len(content), headers)
        if self.command == 'HEAD':
            return None
        self.wfile.write(content[:half])
        if fault.startswith('cut') or fault == 'changed':
            self.close_connection = True
            return None
        if fault in ('slow', 'stalls'):
            self.wfile.flush()
            time.sleep(0.3 if fault == 'slow' else 1)
        self.wfile.write(content[half:])
        return None


def empty_caches(monkeypatch, folder):
    """From now on nothing is fetched yet, and nothing outside of this machine can be."""

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in HERE:
            raise AssertionError(f'a connection to {address}')
        return CONNECT(self, address)

    monkeypatch.setattr(socket.socket, 'connect', connect)
    monkeypatch.setenv('TORCH_HOME', str(folder / 'torch'))
    monkeypatch.setenv('HF_HOME', str(folder / 'hf'))
    for name in ('HF_HUB_CACHE', 'HF_HUB_OFFLINE', 'http_proxy', 'HTTP_PROXY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(downloads, '_PAUSE', 0.001)
    monkeypatch.setattr('huggingface_hub.file_download.time', SimpleNamespace(sleep=lambda _: None))


def write_zoo(monkeypatch, folder, base, models):
    """Let ``folder`` be the zoo, and each model in it a copy of the config ``base``.

    Args:
        monkeypatch: The fixture.
        folder: Folder to write to.
        base: Path of a config.
        models: By name what its entry in the metafile has beyond what all have, such as
            ``Weights``.
    """
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(zoo, 'ZOO', folder)
    metadata = {'Backbone': 'Tiny', 'Training Data': 'COCO', 'Crop': '96x96'}
    entries = []
    for name, more in models.items():
        (folder / f'{name}.py').write_text(f'_base_ = {str(base)!r}\n')
        entries.append(
            dict(Metadata=metadata, Results=None, Name=name, Config=f'{name}.py', **more)
        )
    (folder / 'metafile.yml').write_text(json.dumps(dict(Models=entries)))
