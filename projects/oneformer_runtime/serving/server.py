"""The process: socket, model, uvicorn, signals."""

import asyncio
import logging
import math
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata

import numpy as np
import uvicorn

from .app import make_app
from .predictors import Options, Predictor
from .protocol import guarded
from .service import Service
from .settings import Settings

LOG = logging.getLogger('oneformer_runtime.serving')
_SIGNALS = signal.SIGINT, signal.SIGTERM
_DISTRIBUTIONS = 'oneformer', 'oneformer-runtime'


def version() -> str:
    """Version of the distribution that holds this package, '' in a checkout that is none."""
    for name in _DISTRIBUTIONS:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ''


def open_socket(host: str, port: int) -> socket.socket:
    """A socket bound to an address, which does not listen yet.

    Raises:
        ValueError: If there is no such address, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ValueError(
            f'--host {host}: this machine has no such address ({error}): give 127.0.0.1, or one '
            'of its own'
        ) from error
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ValueError(
            f'port {port} of {host} cannot be used ({error.strerror}): give another (--port), 0 '
            'for a free one, and as --host an address of this machine'
        ) from error
    return bound


class _Server(uvicorn.Server):
    """A server that ends with exit code 0 when it is told to stop.

    Args:
        config: Settings of uvicorn.
        service: Sends away what waits when the server stops.
        started: Called when the server listens.
    """

    def __init__(
        self, config: uvicorn.Config, service: Service, started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._service = service
        self._told = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals meanwhile, and do not raise them again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._told()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let what runs end, and send away what waits."""
        LOG.info('stopping: what is being predicted ends, and what waits is sent away')
        self._service.close()
        await super().shutdown(sockets)


def make_server(
    predictor: Predictor, settings: Settings, started: Callable[[], None] = lambda: None
) -> uvicorn.Server:
    """A server of uvicorn, whose ``run(sockets=[...])`` serves until it is told to stop.

    Args:
        predictor: The model.
        settings: Settings of the server.
        started: Called when the server listens.

    Raises:
        ValueError: For settings that the model cannot have.
    """
    service = Service(predictor, settings, version())
    config = uvicorn.Config(
        make_app(service),
        http=guarded(settings.pace, settings.connections),
        ws='none',
        loop='asyncio',
        lifespan='off',
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        h11_max_incomplete_event_size=1 << 14,
        timeout_graceful_shutdown=math.ceil(settings.timeout + settings.body_timeout) + 1,
    )
    return _Server(config, service, started)


def _warm_up(predictor: Predictor) -> None:
    """Predict once, so that what cannot predict is never called ready."""
    grey = np.full((64, 64, 3), 128, np.uint8)
    predictor(grey, Options(tuple(predictor.facts.default_tasks)))


def _advise(settings: Settings, predictor: Predictor) -> None:
    """Log what whoever runs the server should know."""
    if not settings.is_loopback:
        LOG.warning(
            'it listens at %s: every machine that can reach this one may use it, without a '
            'password and unencrypted. Leave --host out, or put a proxy before it (docs/serve.md)',
            settings.host,
        )
    if '*' in settings.allow_origins:
        LOG.warning('--allow-origin *: every page that a browser here opens may use the server')
    largest = settings.workers * settings.max_pixels
    most = predictor.facts.thresholds.max_per_image
    LOG.info(
        'limits: %d bytes, %d pixels, %g s, %d waiting; images of that size with %d instances '
        'may take %.1f GB beside the model, bodies and answers %.1f GB',
        settings.max_bytes,
        settings.max_pixels,
        settings.timeout,
        settings.queue,
        most,
        largest * (2 * most + _BYTES_OF_PIXEL) / 1e9,
        settings.held_bytes / 1e9,
    )


_BYTES_OF_PIXEL = 40  # of decoding, maps and their text, beside the masks


def serve(load: Callable[[], Predictor], settings: Settings) -> None:
    """Serve a model until SIGTERM or SIGINT.

    The address is taken first, then the model is loaded and predicts once, and only then does the
    server listen. The line "serving on http://..." on stdout says so.

    Args:
        load: Loads the model.
        settings: Settings of the server.

    Raises:
        ValueError: If the address cannot be used, and what ``load`` raises.
    """
    bound = open_socket(settings.host, settings.port)
    with bound:
        predictor = load()
        _warm_up(predictor)
        host, port = bound.getsockname()[:2]
        place = f'[{host}]' if ':' in host else host

        def started() -> None:
            _advise(settings, predictor)
            print(f'serving on http://{place}:{port}/', flush=True)

        server = make_server(predictor, settings, started)
        asyncio.run(server.serve(sockets=[bound]))
    LOG.info('stopped')


def log_to_stderr() -> None:
    """Log the server's lines, and warnings of others, to stderr."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format='%(asctime)s %(levelname)s %(message)s'
    )
    logging.getLogger('oneformer_runtime').setLevel(logging.INFO)
