"""Serve a folder of the page to this machine alone, with the headers that let it use threads."""

import functools
import os
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .builder import HEADERS, PAGE

# systems tell other types of some of these
_TYPES = {
    '.html': 'text/html; charset=utf-8',
    '.css': 'text/css',
    '.js': 'text/javascript',
    '.json': 'application/json',
    '.wasm': 'application/wasm',
    '.svg': 'image/svg+xml',
    '.onnx': 'application/octet-stream',
}


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **_TYPES}
    isolated = True

    def send_head(self) -> Any:
        """Answer only those who ask for this machine: names of others may lead here."""
        host = urlsplit(f'//{self.headers.get("Host", "")}').hostname
        if host not in ('127.0.0.1', 'localhost'):
            self.send_error(421, 'ask for 127.0.0.1')
            return None
        return super().send_head()

    def end_headers(self) -> None:
        """Add the headers."""
        for name, value in HEADERS.items() if self.isolated else ():
            self.send_header(name, value)
        self.send_header('Cache-Control', 'no-cache')
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing of requests."""


class _PlainHandler(_Handler):
    isolated = False


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of browsers that hang up, which is usual; the rest is told."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def make_server(
    folder: str | os.PathLike, port: int = 0, isolated: bool = True
) -> ThreadingHTTPServer:
    """A server of a folder on the loopback address, not started.

    Args:
        folder: A folder of ``build_page``.
        port: Its port; 0 takes a free one.
        isolated: Whether it sends the headers without which a page has one thread.

    Raises:
        FileNotFoundError: If the folder is none of a page.
        OSError: If the port is taken.
    """
    if not (Path(folder) / PAGE).is_file():
        raise FileNotFoundError(
            f'{os.fspath(folder)} has no {PAGE}: give a folder of "oneformer page"'
        )
    handler = functools.partial(
        _Handler if isolated else _PlainHandler, directory=os.fspath(folder)
    )
    try:
        return _Server(('127.0.0.1', port), handler)
    except OSError as error:
        raise OSError(f'port {port} cannot be used ({error.strerror}): choose another') from error


def serve_folder(folder: str | os.PathLike, port: int = 0) -> None:
    """Serve a folder of ``build_page`` until Ctrl + C, and print its address."""
    with make_server(folder, port) as server:
        print(f'http://127.0.0.1:{server.server_address[1]}/ (Ctrl + C ends it)', flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
