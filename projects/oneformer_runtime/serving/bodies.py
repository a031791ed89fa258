"""Bodies of requests, read within limits of bytes, time and memory."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .errors import ApiError, ClientGone
from .settings import Pace

Receive = Callable[[], Awaitable[Any]]

_HOW = 'send one image as the body, as curl --data-binary @image.jpg does'


class Budget:
    """Bytes that bodies and answers may take together.

    Args:
        most: The bytes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def charge(self) -> 'Charge':
        """A share of nothing yet."""
        return Charge(self)


class Charge:
    """The share of a request in a budget: a context that gives it back at its end."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held = 0

    def add(self, count: int) -> None:
        """Take more bytes.

        Raises:
            ApiError: If all are taken.
        """
        if self._budget.held + count > self._budget.most:
            raise ApiError(
                429,
                'queue_full',
                f'the images and answers that are being sent hold {self._budget.held} bytes, and '
                f'{self._budget.most} are allowed',
                'send it again in a moment; who runs the server may raise --max-bytes',
                {'Retry-After': '5'},
            )
        self._budget.held += count
        self.held += count

    def give(self, count: int) -> None:
        """Give bytes back."""
        self._budget.held -= count
        self.held -= count

    def __enter__(self) -> 'Charge':
        return self

    def __exit__(self, *_: object) -> None:
        self.give(self.held)


def has_body(headers: Mapping[str, str]) -> bool:
    """Whether the headers of a request announce a body."""
    return headers.get('content-length', '0') != '0' or 'transfer-encoding' in headers


def check_headers(headers: Mapping[str, str], most: int) -> None:
    """Raise ApiError for a body that is not an image alone, or too large by its own account.

    Args:
        headers: Headers of the request, by names in lower case.
        most: Bytes of a body at most.
    """
    kind = headers.get('content-type', '').split(';')[0].strip().lower()
    if kind.startswith('multipart/') or kind == 'application/json':
        raise ApiError(415, 'not_an_image', f'the body is {kind}', f'{_HOW}, without a form')
    if (coding := headers.get('content-encoding', 'identity').lower()) != 'identity':
        raise ApiError(
            415, 'not_an_image', f'the body is compressed ({coding[:40]!r})', 'send it as it is'
        )
    length = headers.get('content-length')
    if length is not None and 'transfer-encoding' in headers:
        raise ApiError(
            400,
            'bad_request',
            'the request has both Content-Length and Transfer-Encoding',
            'send one of them',
        )
    if length is not None and not (length.isascii() and length.isdecimal()):
        raise ApiError(
            400,
            'bad_request',
            f'Content-Length is {length[:40]!r}, no number of bytes',
            'send the number of bytes of the body',
        )
    if length is not None and int(length[:20]) > most:
        raise _too_large(f'{length[:20]} bytes', most)


def _too_large(found: str, most: int) -> ApiError:
    return ApiError(
        413,
        'body_too_large',
        f'the body has {found}, and {most} are allowed',
        'send a smaller image, or a JPEG; who runs the server may raise --max-bytes',
    )


async def read_body(receive: Receive, most: int, pace: Pace, charge: Charge) -> bytes:
    """The body of a request.

    Args:
        receive: The function of ASGI.
        most: Bytes at most, whatever the headers say.
        pace: The slowest pace.
        charge: Gets what is held.

    Raises:
        ApiError: If the body is empty, too large or too slow, or the budget is used up.
        ClientGone: If the client hangs up.
    """
    parts: list[bytes] = []
    count, began = 0, time.monotonic()
    while True:
        left = pace.seconds(count) - (time.monotonic() - began)
        try:
            message = await asyncio.wait_for(receive(), max(left, 0))
        except (TimeoutError, asyncio.TimeoutError):
            raise _too_slow(count, time.monotonic() - began, pace) from None
        if message['type'] == 'http.disconnect':
            raise ClientGone
        part = message.get('body', b'')
        count += len(part)
        if count > most:
            raise _too_large(f'more than {most} bytes', most)
        charge.add(len(part))
        parts.append(part)
        if not message.get('more_body', False):
            break
    if not count:
        raise ApiError(400, 'bad_request', 'the body is empty', _HOW)
    return b''.join(parts)


def _too_slow(count: int, seconds: float, pace: Pace) -> ApiError:
    return ApiError(
        408,
        'body_too_slow',
        f'{count} bytes of the body came in {seconds:.1f} s',
        f'send it within {pace.grace:g} s, and one more for each {pace.rate:g} bytes; who runs the '
        'server may raise --body-timeout',
    )


async def drain(receive: Receive, most: int, seconds: float) -> bool:
    """Read the rest of a body that nobody wants, so that its sender comes to read the answer.

    Args:
        receive: The function of ASGI.
        most: Bytes at most.
        seconds: Time limit.

    Returns:
        Whether the body has ended.
    """
    end, count = time.monotonic() + seconds, 0
    while count <= most and (left := end - time.monotonic()) > 0:
        try:
            message = await asyncio.wait_for(receive(), left)
        except (TimeoutError, asyncio.TimeoutError):
            return False
        if message['type'] == 'http.disconnect':
            return False
        count += len(message.get('body', b''))
        if not message.get('more_body', False):
            return True
    return False
