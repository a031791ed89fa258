"""What surrounds every request: its id, who may ask, limits of time, and a line in the log."""

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from .bodies import Budget, Charge, drain, has_body
from .errors import ApiError, ClientGone, internal
from .metrics import Metrics
from .settings import Settings

LOG = logging.getLogger('oneformer_runtime.serving')

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

_HEADERS = {
    'content-security-policy': (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; "
        "style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
    'cross-origin-resource-policy': 'same-origin',
    'referrer-policy': 'no-referrer',
    'x-content-type-options': 'nosniff',
}
_DRAIN = 5.0  # seconds at most for the rest of a body that is refused


@dataclass
class Exchange:
    """A request and its answer.

    Attributes:
        id: Id of the request, in its answer and in the log.
        charge: Bytes that it holds.
        outcome: ``ok``, the code of an error, or ``client_gone``.
        about: Further words for the log.
        status: Status of the answer, 0 before there is one.
        sent: Bytes of the answer's body.
        is_complete: Whether all of the answer has been handed over.
        is_cut: Whether the connection was cut off, as the client does not take the answer.
        began: Time of ``time.monotonic`` at which the request came.
    """

    id: str
    charge: Charge
    outcome: str = 'ok'
    about: str = ''
    status: int = 0
    sent: int = 0
    is_complete: bool = False
    is_cut: bool = False
    began: float = field(default_factory=time.monotonic)


def exchange_of(scope: Mapping[str, Any]) -> Exchange:
    """The exchange of a scope of ASGI."""
    return scope['state']['exchange']


def error_messages(error: ApiError, exchange: Exchange) -> list[Message]:
    """Messages of ASGI that tell an error, which also becomes the outcome."""
    exchange.outcome = error.code
    body = json.dumps(error.content(exchange.id)).encode()
    headers = {
        'content-type': 'application/json',
        'content-length': str(len(body)),
        'cache-control': 'no-store',
        **error.headers,
    }
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return [
        {'type': 'http.response.start', 'status': error.status, 'headers': pairs},
        {'type': 'http.response.body', 'body': body},
    ]


def host_name(host: str) -> str:
    """The name in a header Host, without the port, in lower case."""
    host = host.strip().lower()
    if host.startswith('['):
        return host.partition(']')[0] + ']'
    return host.partition(':')[0].removesuffix('.')


def _is_address(name: str) -> bool:
    """Whether a name is an IP address, to which no name of others can be made to lead."""
    try:
        ip_address(name.strip('[]'))
    except ValueError:
        return False
    return True


def check_host(headers: Mapping[str, str], settings: Settings) -> None:
    """Raise ApiError for a request that is meant for another host.

    A page of others can let its own name lead to this machine, and is then of the same origin to a
    browser; but the name remains in the header Host.
    """
    name = host_name(headers.get('host', ''))
    known = {'localhost', settings.host.lower(), *map(str.lower, settings.allow_hosts)}
    if name not in known and not _is_address(name):
        raise ApiError(
            421,
            'host_not_allowed',
            f'the request is for the host {name[:80]!r}, for which this server does not answer',
            'ask it by its address; who runs the server may allow a name by --allow-host',
        )


def check_origin(origins: Sequence[str], host: str, settings: Settings) -> None:
    """Raise ApiError for a request of a page of another origin."""
    for origin in origins:
        own = origin.partition('://')[2].lower() == host.lower()
        if not own and not {origin.lower(), '*'} & set(map(str.lower, settings.allow_origins)):
            raise ApiError(
                403,
                'origin_not_allowed',
                f'a page of {origin[:80]!r} asks, which may not',
                'who runs the server may allow it by --allow-origin',
            )


class Guard:
    """An application of ASGI around another.

    Args:
        app: The other.
        settings: Hosts, origins, pace.
        budget: Bytes that all requests may hold.
        metrics: Counts the outcomes.
    """

    def __init__(self, app: App, settings: Settings, budget: Budget, metrics: Metrics) -> None:
        self.app = app
        self.settings = settings
        self.budget = budget
        self.metrics = metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope['type'] != 'http':
            return
        headers = {k.decode('latin-1').lower(): v.decode('latin-1') for k, v in scope['headers']}
        given = headers.get('x-request-id', '')
        own_id = given if re.fullmatch(r'[\w.-]{1,64}', given, re.A) else secrets.token_hex(6)
        with self.budget.charge() as charge:
            exchange = Exchange(own_id, charge)
            scope.setdefault('state', {})['exchange'] = exchange
            connection = _Connection(scope, receive, send, exchange, self.settings, headers)
            try:
                await self._answer(scope, headers, connection)
            except asyncio.CancelledError:
                exchange.outcome = 'cancelled'
                raise
            finally:
                if exchange.is_cut:
                    exchange.outcome = 'answer_not_taken'
                kind = 'predict' if scope['path'] == '/v1/predict' else 'other'
                self.metrics.requests.labels(kind, exchange.outcome).inc()
                _log(scope, exchange)

    async def _answer(
        self, scope: MutableMapping[str, Any], headers: Mapping[str, str], connection: '_Connection'
    ) -> None:
        exchange = connection.exchange
        error = None
        try:
            check_host(headers, self.settings)
            origins = [v.decode('latin-1') for k, v in scope['headers'] if k == b'origin']
            check_origin(origins, headers.get('host', ''), self.settings)
            await self.app(scope, connection.receive, connection.send)
        except ApiError as refused:
            error = refused
        except ClientGone:
            await connection.cut()
        except Exception:
            if not exchange.is_cut:
                LOG.exception('[%s] failed', exchange.id)
                error = internal()
        if error is None or exchange.is_complete:
            return
        if exchange.status:  # the answer has begun: it can only be cut off
            exchange.outcome = error.code
            await connection.cut()
            return
        for message in error_messages(error, exchange):
            await connection.send(message)


class _Connection:
    """The functions of ASGI of a request, with limits of time."""

    def __init__(
        self,
        scope: Mapping[str, Any],
        receive: Receive,
        send: Send,
        exchange: Exchange,
        settings: Settings,
        headers: Mapping[str, str],
    ) -> None:
        self._receive, self._send = receive, send
        self._abort: Callable[[], None] = scope['state'].get('abort', lambda: None)
        self.exchange = exchange
        self._settings = settings
        self._pending = has_body(headers)  # whether some of the body has not been read
        self._waits = 'expect' in headers  # whether the client sends the body when it is asked to
        self._begun = 0.0

    async def cut(self) -> None:
        self._abort()
        await asyncio.sleep(0)  # the server notices

    async def receive(self) -> Message:
        self._waits = False
        message = await self._receive()
        if message['type'] == 'http.disconnect' or not message.get('more_body', False):
            self._pending = False
        return message

    async def send(self, message: Message) -> None:
        exchange = self.exchange
        if message['type'] == 'http.response.start':
            await self._start(message)
        else:
            exchange.sent += len(message.get('body', b''))
        left = self._settings.pace.seconds(exchange.sent) - (time.monotonic() - self._begun)
        try:
            await asyncio.wait_for(self._send(message), max(left, 0.01))
        except (TimeoutError, asyncio.TimeoutError):
            exchange.is_cut = True
            await self.cut()
            raise ClientGone from None
        if message['type'] == 'http.response.body' and not message.get('more_body', False):
            exchange.is_complete = True

    async def _start(self, message: Message) -> None:
        exchange = self.exchange
        pairs = list(message.get('headers', []))
        names = {name for name, _ in pairs}
        pairs += [
            (name.encode(), value.encode())
            for name, value in {**_HEADERS, 'x-request-id': exchange.id}.items()
            if name.encode() not in names
        ]
        if self._pending:
            late = exchange.outcome == 'body_too_slow'
            if not self._waits and not late:
                seconds = min(_DRAIN, self._settings.body_timeout)
                await drain(self.receive, self._settings.max_bytes, seconds)
            if self._pending:
                pairs.append((b'connection', b'close'))
        message['headers'] = pairs
        exchange.status = message['status']
        self._begun = time.monotonic()


def _log(scope: Mapping[str, Any], exchange: Exchange) -> None:
    client = scope.get('client') or ('-',)
    LOG.info(
        '[%s] %s %s %.80r %s %s %d bytes %.3f s%s',
        exchange.id,
        client[0],
        scope['method'],
        scope['path'],
        exchange.status or '-',
        exchange.outcome,
        exchange.sent,
        time.monotonic() - exchange.began,
        exchange.about,
    )
