"""HTTP of uvicorn, with time limits for what uvicorn waits for without end.

A connection is closed that sends no whole head of a request in time, or does not take an answer.
"""

import asyncio
import json
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from .settings import Pace

_CHECK = 0.5  # seconds between looks at an answer that is not taken yet


def _answer(status: str, code: str, detail: str, remedy: str) -> bytes:
    """A whole answer that closes the connection."""
    body = json.dumps(dict(error=code, detail=detail, remedy=remedy, request_id='-')).encode()
    head = (
        f'HTTP/1.1 {status}\r\ncontent-type: application/json\r\n'
        f'content-length: {len(body)}\r\nconnection: close\r\n\r\n'
    )
    return head.encode() + body


_BAD = _answer('400 Bad Request', 'bad_request', 'this is not HTTP/1.1', 'correct the request')
_SLOW = _answer(
    '408 Request Timeout',
    'body_too_slow',
    'the head of the request did not come in time',
    'send it at once',
)
_FULL = _answer(
    '503 Service Unavailable',
    'too_many_connections',
    'the server has as many connections as it may',
    'close some, or try again in a moment',
)


class GuardedProtocol(H11Protocol):
    """A connection; sub-classes by ``guarded`` have limits.

    Attributes:
        pace: The slowest pace of what comes and goes.
        most: Connections at once.
    """

    pace = Pace(10.0, 32_000)
    most = 256

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None
        self.app_state: dict[str, Any] = dict(abort=transport.abort)
        if len(self.connections) > self.most:
            self._close_with(_FULL)
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        for timer in (self._head_timer, self._answer_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close when what is being answered is done."""
        if not self.transport.is_closing():
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Take bytes, and look whether they begin or complete a head."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_busy:
            self._forget_head()
        elif self._head_timer is None and not self.transport.is_closing():
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, as JSON."""
        if self.cycle is not None and self.cycle.response_started:
            self.transport.abort()
        else:
            self._close_with(_BAD)

    def on_response_complete(self) -> None:
        """Go on to the next request, and see that the answer is taken."""
        self._forget_head()
        super().on_response_complete()
        if left := self.transport.get_write_buffer_size():
            end = time.monotonic() + self.pace.seconds(left)
            if self._answer_timer is not None:
                self._answer_timer.cancel()
            self._answer_timer = self.loop.call_later(_CHECK, self._check_answer, end)

    def _should_upgrade(self) -> bool:
        return False  # to no other protocol

    @property
    def _is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.pace.grace, self._head_is_late)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._is_busy or self.transport.is_closing():
            return
        begun = self.conn.trailing_data[0]
        self._close_with(_SLOW if begun else b'')

    def _close_with(self, answer: bytes) -> None:
        """Write a whole answer and close; what of it is not taken in time is lost."""
        self.conn.send_failed()
        if answer:
            self.transport.write(answer)
        self.transport.close()
        self.loop.call_later(self.pace.grace, self._abort)

    def _check_answer(self, end: float) -> None:
        self._answer_timer = None
        if not self.transport.get_write_buffer_size():
            return
        if time.monotonic() > end:
            self._abort()
        else:
            self._answer_timer = self.loop.call_later(_CHECK, self._check_answer, end)

    def _abort(self) -> None:
        self.transport.abort()


def guarded(pace: Pace, most: int) -> type[GuardedProtocol]:
    """The protocol with limits.

    Args:
        pace: The slowest pace of what comes and goes.
        most: Connections at once.
    """
    return type('GuardedConnection', (GuardedProtocol,), dict(pace=pace, most=most))
